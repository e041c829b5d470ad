//! Softmax of scores, and what caps them.

use crate::level::{fma, multiversion};
use crate::math::{exp, tanh};

multiversion! {
    pub fn soft_cap<const FMA: bool>(scores: &mut [f32], cap: f32) {
        for s in scores {
            *s = tanh::<FMA>(*s / cap) * cap;
        }
    }
}

#[inline(always)]
fn max(row: &[f32]) -> f32 {
    let mut most = [f32::MIN; 16];
    let (whole, rest) = row.as_chunks::<16>();
    for chunk in whole {
        for i in 0..16 {
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
        }
    }
    most.iter().chain(rest).fold(f32::MIN, |a, b| a.max(*b))
}

/// Replaces scores by `e^(score - max)` and returns their sum.
#[inline(always)]
fn exp_sum<const FMA: bool>(row: &mut [f32], max: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (whole, rest) = row.as_chunks_mut::<16>();
    for chunk in whole {
        for i in 0..16 {
            let d = chunk[i] - max;
            // Below this the sum of a row would not notice; hidden keys must weigh exactly nothing.
            let e = if d < -80.0 { 0.0 } else { exp::<FMA>(d) };
            chunk[i] = e;
            sums[i] += e;
        }
    }
    let mut total = sums.iter().sum::<f32>();
    for v in rest {
        let d = *v - max;
        *v = if d < -80.0 { 0.0 } else { exp::<FMA>(d) };
        total += *v;
    }
    total
}

multiversion! {
    /// Replaces scores by weights; with them competes `sink`, which may be negative infinity for none.
    pub fn softmax<const FMA: bool>(row: &mut [f32], sink: f32) {
        let max = max(row);
        let factor = 1.0 / (exp_sum::<FMA>(row, max) + (sink - max).exp());
        for v in row {
            *v *= factor;
        }
    }
}

multiversion! {
    /// Replaces a block of scores by weights relative to the running maximum; `state` is that maximum and the sum. Returns
    /// the factor by which what was summed before shrinks.
    pub fn running_softmax<const FMA: bool>(row: &mut [f32], state: &mut [f32]) -> f32 {
        let most = max(row).max(state[0]);
        if most == f32::MIN {
            // Nothing visible yet.
            row.fill(0.0);
            return 1.0;
        }
        let factor = if state[0] == f32::MIN { 1.0 } else { exp::<FMA>(state[0] - most) };
        let sum = exp_sum::<FMA>(row, most);
        state[1] = fma::<FMA>(state[1], factor, sum);
        state[0] = most;
        factor
    }
}
