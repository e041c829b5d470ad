//! Depthwise causal convolution over positions.

use super::activation::{Act, activate};
use super::floats::{Floats, FloatsMut, Target};
use super::level::{Level, fma, multiversion};
use super::pool;
use super::scratch::with_scratch;

/// A convolution in which each channel has its own filter, and its weights.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    /// Positions of each sequence.
    pub length: usize,
    /// Features of a position.
    pub channels: usize,
    /// `[taps, channels]`; the last tap is that of the position itself.
    pub weight: &'a [f32],
    /// Summands, one per channel.
    pub bias: Option<&'a [f32]>,
    /// What is applied to the sums.
    pub act: Option<Act>,
}

/// Filters `x`, `[rows, length, channels]`, before which are the `taps - 1` positions of `past`. `next` becomes the
/// past of the positions to come.
///
/// # Panics
/// If sizes do not fit each other.
pub fn convolve(
    level: Level,
    op: &Convolution<'_>,
    x: Floats<'_>,
    past: &[f32],
    out: FloatsMut<'_>,
    next: FloatsMut<'_>,
) {
    let (length, channels) = (op.length, op.channels);
    assert!(channels > 0 && length > 0 && op.weight.len().is_multiple_of(channels), "convolution");
    let before = (op.weight.len() / channels).checked_sub(1).expect("a tap");
    let rows = x.len() / (length * channels);
    assert!(x.len() == rows * length * channels && out.len() == x.len(), "convolution");
    assert!(past.len() == rows * before * channels && next.len() == past.len(), "convolution");
    assert!(op.bias.is_none_or(|bias| bias.len() == channels), "convolution");
    // The values of a position, counted from the first one of the past.
    let read = |row: usize, at: usize, to: &mut [f32]| match at.checked_sub(before) {
        None => to.copy_from_slice(&past[(row * before + at) * channels..][..channels]),
        Some(at) => x.slice((row * length + at) * channels, channels).read(level, to),
    };
    let (out, next) = (Target::new(out), Target::new(next));
    let task = |i: usize| {
        let (row, at) = (i / length, i % length);
        with_scratch(2 * channels, |scratch| {
            let (sum, value) = scratch.split_at_mut(channels);
            match op.bias {
                Some(bias) => sum.copy_from_slice(bias),
                None => sum.fill(0.0),
            }
            for (tap, weight) in op.weight.chunks_exact(channels).enumerate() {
                read(row, at + tap, value);
                add_product(level, sum, value, weight);
            }
            if let Some(act) = op.act {
                activate(level, act, sum);
            }
            // SAFETY: each task has its own position.
            unsafe { out.part(i * channels, channels) }.write(level, sum);
        });
    };
    let tasks = rows * length;
    if tasks * channels < 1 << 14 {
        (0..tasks).for_each(task)
    } else {
        pool::run(tasks, &task)
    }
    with_scratch(channels, |value| {
        for i in 0..rows * before {
            read(i / before, length + i % before, value);
            // SAFETY: nobody else writes here.
            unsafe { next.part(i * channels, channels) }.write(level, value);
        }
    });
}

multiversion! {
    fn add_product<const FMA: bool>(sum: &mut [f32], a: &[f32], b: &[f32]) {
        for ((s, a), b) in sum.iter_mut().zip(a).zip(b) {
            *s = fma::<FMA>(*a, *b, *s);
        }
    }
}
