//! Scores of a few queries, and the values that they weigh.

use crate::floats::{Bf16, F16, Floats};
use crate::level::{Level, fma, multiversion};

/// `scores[g][s] = queries[g] . keys[s]`, keys `stride` apart.
pub fn score(level: Level, queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return crate::avx512::score(queries, keys, stride, dim, scores);
    }
    portable_score(level, queries, keys, stride, dim, scores);
}

multiversion! {
    fn portable_score<const FMA: bool>(queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
        match keys {
            Floats::F32(k) => score_of::<FMA, _>(queries, k, stride, dim, scores),
            Floats::F16(k) => score_of::<FMA, _>(queries, k, stride, dim, scores),
            Floats::Bf16(k) => score_of::<FMA, _>(queries, k, stride, dim, scores),
        }
    }
}

#[inline(always)]
fn score_of<const FMA: bool, T: Number>(queries: &[f32], keys: &[T], stride: usize, dim: usize, scores: &mut [f32]) {
    let group = queries.len() / dim;
    let n = scores.len() / group;
    for s in 0..n {
        let key = &keys[s * stride..][..dim];
        for (g, query) in queries.chunks_exact(dim).enumerate() {
            let mut sums = [0.0f32; 32];
            let (qs, q_rest) = query.as_chunks::<32>();
            let (ks, k_rest) = key.as_chunks::<32>();
            for (q, k) in qs.iter().zip(ks) {
                for i in 0..32 {
                    sums[i] = fma::<FMA>(q[i], k[i].wide(), sums[i]);
                }
            }
            let mut half = [0.0f32; 16];
            for i in 0..16 {
                half[i] = sums[i] + sums[i + 16];
            }
            let mut quarter = [0.0f32; 8];
            for i in 0..8 {
                quarter[i] = half[i] + half[i + 8];
            }
            let total = quarter.iter().sum::<f32>();
            scores[g * n + s] = q_rest.iter().zip(k_rest).fold(total, |t, (q, k)| fma::<FMA>(*q, k.wide(), t));
        }
    }
}

/// `out[g] += sum over s of weights[g][s] * values[s]`, values `stride` apart.
pub fn weigh(level: Level, weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return crate::avx512::weigh(weights, values, stride, dim, out);
    }
    portable_weigh(level, weights, values, stride, dim, out);
}

multiversion! {
    fn portable_weigh<const FMA: bool>(weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
        match values {
            Floats::F32(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
            Floats::F16(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
            Floats::Bf16(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
        }
    }
}

#[inline(always)]
fn weigh_of<const FMA: bool, T: Number>(weights: &[f32], values: &[T], stride: usize, dim: usize, out: &mut [f32]) {
    const WIDTH: usize = 64;
    let group = out.len() / dim;
    let n = weights.len() / group;
    for (weights, out) in weights.chunks_exact(n).zip(out.chunks_exact_mut(dim)) {
        let (whole, rest) = out.as_chunks_mut::<WIDTH>();
        for (c, out) in whole.iter_mut().enumerate() {
            let mut sums = *out;
            for (s, w) in weights.iter().enumerate() {
                let value: &[T; WIDTH] = values[s * stride + c * WIDTH..][..WIDTH].try_into().expect("64 of them");
                for i in 0..WIDTH {
                    sums[i] = fma::<FMA>(*w, value[i].wide(), sums[i]);
                }
            }
            *out = sums;
        }
        let from = whole.len() * WIDTH;
        for (s, w) in weights.iter().enumerate() {
            for (o, v) in rest.iter_mut().zip(&values[s * stride + from..]) {
                *o = fma::<FMA>(*w, v.wide(), *o);
            }
        }
    }
}

/// What a cached number is as f32, in code that vectorises.
trait Number: Copy {
    fn wide(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

impl Number for Bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

impl Number for F16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self.to_f32()
    }
}
