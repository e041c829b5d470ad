//! Normalisation over the last axis.

use super::floats::{Floats, FloatsMut, Target};
use super::level::{Level, fma, multiversion};
use super::pool;
use super::scratch::with_scratch;

/// A normalisation and its weights.
#[derive(Clone, Copy, Debug)]
pub struct NormParams<'a> {
    /// Subtract the mean first (layer norm), or only divide by the root mean square.
    pub center: bool,
    /// Added to the variance.
    pub eps: f32,
    /// Factors.
    pub weight: Option<Floats<'a>>,
    /// Summands.
    pub bias: Option<Floats<'a>>,
}

/// Normalises rows of `size` numbers.
///
/// # Panics
/// If sizes do not fit each other.
pub fn normalize(level: Level, x: Floats<'_>, size: usize, params: &NormParams<'_>, out: FloatsMut<'_>) {
    assert!(size > 0 && x.len() == out.len() && x.len().is_multiple_of(size), "norm");
    let rows = x.len() / size;
    let target = Target::new(out);
    let task = |i: usize| {
        with_scratch(size, |row| {
            x.slice(i * size, size).read(level, row);
            normalize_row(level, row, params);
            // SAFETY: each task has its own row.
            unsafe { target.part(i * size, size) }.write(level, row);
        });
    };
    if rows * size < 1 << 15 { (0..rows).for_each(task) } else { pool::run(rows, &task) }
}

/// Normalises one row in place.
pub(super) fn normalize_row(level: Level, row: &mut [f32], params: &NormParams<'_>) {
    let size = row.len();
    for parameter in [params.weight, params.bias].into_iter().flatten() {
        assert_eq!(parameter.len(), size, "norm");
    }
    standardize(level, row, params.center, params.eps);
    let mut with = |parameter: Option<Floats<'_>>, apply: fn(Level, &mut [f32], &[f32])| match parameter {
        None => {}
        Some(Floats::F32(p)) => apply(level, row, p),
        Some(p) => with_scratch(size, |scratch| {
            p.read(level, scratch);
            apply(level, row, scratch);
        }),
    };
    with(params.weight, multiply);
    with(params.bias, add);
}

multiversion! {
    fn standardize<const FMA: bool>(row: &mut [f32], center: bool, eps: f32) {
        let n = row.len() as f32;
        if center {
            let mean = sum::<FMA>(row, |v| v) / n;
            for v in row.iter_mut() {
                *v -= mean;
            }
        }
        let factor = 1.0 / (sum::<FMA>(row, |v| v * v) / n + eps).sqrt();
        for v in row {
            *v *= factor;
        }
    }
}

#[inline(always)]
fn sum<const FMA: bool>(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (whole, rest) = row.as_chunks::<16>();
    for chunk in whole {
        for i in 0..16 {
            sums[i] += f(chunk[i]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>()
}

multiversion! {
    fn multiply<const FMA: bool>(row: &mut [f32], by: &[f32]) {
        for (v, b) in row.iter_mut().zip(by) {
            *v *= b;
        }
    }
}

multiversion! {
    fn add<const FMA: bool>(row: &mut [f32], what: &[f32]) {
        for (v, w) in row.iter_mut().zip(what) {
            *v = fma::<FMA>(1.0, *w, *v);
        }
    }
}
