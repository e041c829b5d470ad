//! Linear recurrences over matrices: state-space models, the delta rule, linear attention.

use super::floats::{FloatsMut, Target};
use super::level::{Level, fma, multiversion};
use super::pool;
use super::scratch::with_scratch;

/// In each position a head's state `S`, `[values, keys]`, becomes
///
/// `S * decay + (S a) b^T + value key^T`
///
/// and then gives `S query`. Each operand is `[rows, length, heads of its own, width]`: consecutive heads share what
/// has fewer of them.
#[derive(Clone, Copy, Debug)]
pub struct Recurrence<'a> {
    /// Positions of each sequence.
    pub length: usize,
    /// Heads.
    pub heads: usize,
    /// Columns of a state.
    pub keys: usize,
    /// Rows of a state.
    pub values: usize,
    /// One number for a state, or one for each column.
    pub decay: Operand<'a>,
    /// `a` and `b`.
    pub correction: Option<[Operand<'a>; 2]>,
    /// What values are stored under.
    pub key: Operand<'a>,
    /// What is stored.
    pub value: Operand<'a>,
    /// What is read.
    pub query: Operand<'a>,
}

/// One vector for each position and head.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// All of them.
    pub numbers: &'a [f32],
    /// How many heads there are.
    pub heads: usize,
    /// Numbers of a vector.
    pub width: usize,
}

impl<'a> Operand<'a> {
    /// The vector of a head, of which there are `heads`; positions are counted over all rows.
    #[inline]
    fn at(&self, position: usize, head: usize, heads: usize) -> &'a [f32] {
        let head = head * self.heads / heads;
        &self.numbers[(position * self.heads + head) * self.width..][..self.width]
    }

    fn fits(&self, positions: usize, heads: usize, width: usize) -> bool {
        let divides = self.heads > 0 && heads.is_multiple_of(self.heads);
        divides && self.width == width && self.numbers.len() == positions * self.heads * width
    }
}

/// Rows of a state that one task keeps in the nearest cache.
const BLOCK: usize = 32;

/// From `state`, `[rows, heads, values, keys]`, to `next`; `out` is `[rows, length, heads, values]`.
///
/// # Panics
/// If sizes do not fit each other.
pub fn recur<'a>(level: Level, op: &Recurrence<'a>, state: &[f32], out: FloatsMut<'_>, next: FloatsMut<'_>) {
    let Recurrence { length, heads, keys, values, .. } = *op;
    assert!(length > 0 && heads > 0 && keys > 0 && values > 0, "recurrence");
    let rows = out.len() / (length * heads * values);
    let positions = rows * length;
    let one = op.decay.width == 1;
    assert!(op.decay.fits(positions, heads, if one { 1 } else { keys }), "recurrence: decay");
    let of_keys = [op.key, op.query].into_iter().chain(op.correction.into_iter().flatten());
    assert!(of_keys.into_iter().all(|o| o.fits(positions, heads, keys)), "recurrence: keys");
    assert!(op.value.fits(positions, heads, values) && out.len() == positions * heads * values, "recurrence: values");
    assert!(state.len() == rows * heads * values * keys && next.len() == state.len(), "recurrence: state");
    let blocks = values.div_ceil(BLOCK);
    let (out, next) = (Target::new(out), Target::new(next));
    let task = |i: usize| {
        let (block, head, row) = (i % blocks, i / blocks % heads, i / blocks / heads);
        let from = block * BLOCK;
        let n = BLOCK.min(values - from);
        let place = ((row * heads + head) * values + from) * keys;
        with_scratch(n * (keys + 1), |scratch| {
            let (state_, y) = scratch.split_at_mut(n * keys);
            state_.copy_from_slice(&state[place..][..n * keys]);
            for position in row * length..(row + 1) * length {
                let of = |operand: Operand<'a>| operand.at(position, head, heads);
                let vectors = Vectors {
                    decay: of(op.decay),
                    correction: op.correction.as_ref().map(|[a, b]| (of(*a), of(*b))),
                    key: of(op.key),
                    query: of(op.query),
                    value: &of(op.value)[from..from + n],
                };
                advance(level, state_, &vectors, y);
                // SAFETY: each task has its own head and rows.
                unsafe { out.part((position * heads + head) * values + from, n) }.write(level, y);
            }
            // SAFETY: as above.
            unsafe { next.part(place, n * keys) }.write(level, state_);
        });
    };
    let tasks = rows * heads * blocks;
    let work = positions * heads * values * keys;
    if work < 1 << 14 { (0..tasks).for_each(task) } else { pool::run(tasks, &task) }
}

/// The vectors of one position.
struct Vectors<'a> {
    decay: &'a [f32],
    correction: Option<(&'a [f32], &'a [f32])>,
    key: &'a [f32],
    query: &'a [f32],
    value: &'a [f32],
}

multiversion! {
    fn advance<const FMA: bool>(state: &mut [f32], by: &Vectors<'_>, y: &mut [f32]) {
        let keys = by.key.len();
        for ((row, value), y) in state.chunks_exact_mut(keys).zip(by.value).zip(y) {
            let corrected = by.correction.map(|(a, b)| (dot::<FMA>(row, a), b));
            match by.decay {
                &[decay] => row.iter_mut().for_each(|s| *s *= decay),
                decay => row.iter_mut().zip(decay).for_each(|(s, d)| *s *= d),
            }
            if let Some((read, b)) = corrected {
                row.iter_mut().zip(b).for_each(|(s, b)| *s = fma::<FMA>(read, *b, *s));
            }
            row.iter_mut().zip(by.key).for_each(|(s, k)| *s = fma::<FMA>(*value, *k, *s));
            *y = dot::<FMA>(row, by.query);
        }
    }
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let ((a, more_a), (b, more_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
        }
    }
    sums.iter().sum::<f32>() + more_a.iter().zip(more_b).map(|(a, b)| a * b).sum::<f32>()
}
