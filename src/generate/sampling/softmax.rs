//! The passes over a whole vocabulary, written so that the compiler can use vector instructions.

use crate::{Error, Result};

/// Values processed in parallel. Fixed, so that sums are formed in the same order on every machine.
const LANES: usize = 16;

/// The results of one pass over the logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    /// The largest logit; finite.
    pub max: f32,
    /// The sum of `exp(logit - max)`; at least 1.
    pub mass: f64,
}

impl Stats {
    /// The log-probability of a token with this logit.
    pub fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - f64::from(self.max) - self.mass.ln()) as f32
    }
}

/// e^x for x up to 0 (and a little more), within 1e-7 relative; 0 below the smallest normal number.
///
/// Our own because the system's differs from one platform to the next in the last bit, and cannot be vectorised.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    // Adding this rounds to an integer and leaves that integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    // ln 2 in two parts; the first has trailing zeros, so that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.3;

    let clamped = if x < LOWEST { LOWEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    // The Taylor series is enough for |r| <= ln(2) / 2.
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let value = series * f32::from_bits(exponent);
    if x < LOWEST { 0.0 } else { value }
}

/// Whether no token has a logit above minus infinity.
pub(super) fn is_nothing(logits: &[f32]) -> bool {
    logits.iter().all(|&x| x == f32::NEG_INFINITY)
}

/// Finds the largest logit and the mass.
///
/// # Errors
/// The logits hold NaN or plus infinity, or nothing but minus infinity.
pub(super) fn scan(logits: &[f32]) -> Result<Stats> {
    let mut max = [f32::NEG_INFINITY; LANES];
    let mut nan = [0u32; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            max[lane] = if x > max[lane] { x } else { max[lane] };
            nan[lane] |= u32::from(x.is_nan());
        }
    }
    for &x in rest {
        max[0] = if x > max[0] { x } else { max[0] };
        nan[0] |= u32::from(x.is_nan());
    }

    if nan.contains(&1) {
        let token = logits.iter().position(|x| x.is_nan()).unwrap_or(0);
        return Err(Error::mlx(format!("the model produced NaN: the logit of token {token} is not a number")));
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::INFINITY {
        let token = argmax(logits, max);
        return Err(Error::mlx(format!("the model produced an infinite logit, for token {token}")));
    }
    if max == f32::NEG_INFINITY {
        return Err(Error::mlx("no token can be sampled: every logit is minus infinity"));
    }
    Ok(Stats { max, mass: mass(logits, max, 1.0) })
}

/// The sum of `exp((logit - max) / temperature)`.
pub(super) fn mass(logits: &[f32], max: f32, temperature: f32) -> f64 {
    sum_of(logits, |&x| exp((x - max) / temperature))
}

/// The sum of a value per item, in a fixed order and several lanes wide.
#[inline]
pub(super) fn sum_of<T>(items: &[T], value: impl Fn(&T) -> f32) -> f64 {
    let mut sum = [0f64; LANES];
    let (chunks, rest) = items.as_chunks::<LANES>();
    for chunk in chunks {
        // First all values, then the sums: in one expression the compiler would do one lane at a time.
        let values: [f32; LANES] = std::array::from_fn(|lane| value(&chunk[lane]));
        for lane in 0..LANES {
            sum[lane] += f64::from(values[lane]);
        }
    }
    for (sum, x) in sum.iter_mut().zip(rest) {
        *sum += f64::from(value(x));
    }
    sum.into_iter().sum()
}

/// The first token that has the largest logit.
pub(super) fn argmax(logits: &[f32], max: f32) -> u32 {
    logits.iter().position(|&x| x == max).unwrap_or(0) as u32
}

/// The mean and the standard deviation (of the population) of the logits above minus infinity.
pub(super) fn mean_and_deviation(logits: &[f32]) -> (f64, f64) {
    let finite = || logits.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x));
    let count = finite().count() as f64;
    let mean = finite().sum::<f64>() / count;
    let variance = finite().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// The largest logit of the candidates.
pub(super) fn largest(candidates: &[(u32, f32)]) -> f32 {
    candidates.iter().fold(f32::NEG_INFINITY, |max, &(_, x)| if x > max { x } else { max })
}

/// Turns candidates' logits into probabilities at a temperature above 0.
pub(super) fn softmax(candidates: &mut [(u32, f32)], temperature: f32) {
    let max = largest(candidates);
    let (chunks, rest) = candidates.as_chunks_mut::<LANES>();
    for chunk in chunks {
        let values: [f32; LANES] = std::array::from_fn(|lane| exp((chunk[lane].1 - max) / temperature));
        for lane in 0..LANES {
            chunk[lane].1 = values[lane];
        }
    }
    for (_, x) in rest {
        *x = exp((*x - max) / temperature);
    }
    let scale = (1.0 / sum_of(candidates, |c| c.1)) as f32;
    for (_, x) in candidates {
        *x *= scale;
    }
}
