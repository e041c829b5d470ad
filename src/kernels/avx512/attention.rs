//! Scores, and weighted sums of values: for a few queries in f32, for many in bf16.

use std::arch::x86_64::*;

use super::gemm::{Block, TALL, gemm, multiply};
use super::panel::WIDE;
use super::vector::{BF16, F16, F32, first_lanes, load};
use crate::floats::{Bf16, Floats};
use crate::input::Input;
use crate::matrix::{Matrix, Values};
use crate::scratch::with_scratch;

/// `scores[g * n + s] = queries[g] . keys[s]` with keys `stride` apart; `n = scores.len() / (queries.len() / dim)`.
pub fn score(queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
    let group = queries.len() / dim;
    let n = scores.len() / group;
    assert!(queries.len() == group * dim && scores.len() == group * n);
    assert!(n == 0 || keys.len() >= (n - 1) * stride + dim, "keys");
    for g in (0..group).step_by(2) {
        let (q, out) = (queries[g * dim..].as_ptr(), scores[g * n..].as_mut_ptr());
        // SAFETY: the caller's level says that the processor has AVX-512; sizes were checked.
        unsafe {
            match (keys, group - g) {
                (Floats::F32(k), 1) => score_of::<1, F32>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(k), 1) => score_of::<1, F16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(k), 1) => score_of::<1, BF16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F32(k), _) => score_of::<2, F32>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(k), _) => score_of::<2, F16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(k), _) => score_of::<2, BF16>(q, k.as_ptr().cast(), stride, dim, n, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn score_of<const G: usize, const KIND: u32>(
    queries: *const f32,
    keys: *const u8,
    stride: usize,
    dim: usize,
    n: usize,
    scores: *mut f32,
) {
    /// Keys at a time.
    const KEYS: usize = 4;
    // SAFETY: the caller vouches for `G` queries and `n` keys.
    unsafe {
        for s in (0..n).step_by(KEYS) {
            // At the end the last key stands in for those that are missing.
            let at: [usize; KEYS] = std::array::from_fn(|j| (s + j).min(n - 1) * stride);
            let mut acc = [[_mm512_setzero_ps(); KEYS]; G];
            for d in (0..dim).step_by(16) {
                let mask = first_lanes(dim - d);
                let mut k = [_mm512_setzero_ps(); KEYS];
                for j in 0..KEYS {
                    k[j] = load::<KIND>(keys, at[j] + d, mask);
                }
                for g in 0..G {
                    let q = _mm512_maskz_loadu_ps(mask, queries.add(g * dim + d));
                    for j in 0..KEYS {
                        acc[g][j] = _mm512_fmadd_ps(q, k[j], acc[g][j]);
                    }
                }
            }
            for g in 0..G {
                let a = &acc[g];
                // Four sums of 16 lanes at once: pairs of accumulators are folded together.
                let t0 = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
                let t1 = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
                let (d0, d1) = (_mm512_castps_pd(t0), _mm512_castps_pd(t1));
                let low = _mm512_castpd_ps(_mm512_unpacklo_pd(d0, d1));
                let high = _mm512_castpd_ps(_mm512_unpackhi_pd(d0, d1));
                let quarters = _mm512_add_ps(low, high);
                let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
                let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
                let mask = ((1u32 << KEYS.min(n - s)) - 1) as u8;
                _mm_mask_storeu_ps(scores.add(g * n + s), mask, sums);
            }
        }
    }
}

/// `out[g] += sum over s of weights[g * n + s] * values[s]` with values `stride` apart.
pub fn weigh(weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
    let group = out.len() / dim;
    let n = weights.len() / group;
    assert!(out.len() == group * dim && weights.len() == group * n);
    assert!(n == 0 || values.len() >= (n - 1) * stride + dim, "values");
    for g in (0..group).step_by(2) {
        let (w, out) = (weights[g * n..].as_ptr(), out[g * dim..].as_mut_ptr());
        // SAFETY: the caller's level says that the processor has AVX-512; sizes were checked.
        unsafe {
            match (values, group - g) {
                (Floats::F32(v), 1) => weigh_of::<1, F32>(w, v.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(v), 1) => weigh_of::<1, F16>(w, v.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(v), 1) => weigh_of::<1, BF16>(w, v.as_ptr().cast(), stride, dim, n, out),
                (Floats::F32(v), _) => weigh_of::<2, F32>(w, v.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(v), _) => weigh_of::<2, F16>(w, v.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(v), _) => weigh_of::<2, BF16>(w, v.as_ptr().cast(), stride, dim, n, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn weigh_of<const G: usize, const KIND: u32>(
    weights: *const f32,
    values: *const u8,
    stride: usize,
    dim: usize,
    n: usize,
    out: *mut f32,
) {
    /// Vectors of features at a time.
    const WIDTH: usize = 8;
    // SAFETY: the caller vouches for `G` rows of weights and results and for `n` values.
    unsafe {
        for d in (0..dim).step_by(16 * WIDTH) {
            let mask: [u16; WIDTH] = std::array::from_fn(|v| first_lanes(dim.saturating_sub(d + v * 16)));
            let vectors = (dim - d).div_ceil(16).min(WIDTH);
            let mut acc = [[_mm512_setzero_ps(); WIDTH]; G];
            for s in 0..n {
                let at = s * stride + d;
                let w: [__m512; G] = std::array::from_fn(|g| _mm512_set1_ps(*weights.add(g * n + s)));
                if vectors == WIDTH {
                    for v in 0..WIDTH {
                        let value = load::<KIND>(values, at + v * 16, mask[v]);
                        for g in 0..G {
                            acc[g][v] = _mm512_fmadd_ps(w[g], value, acc[g][v]);
                        }
                    }
                } else {
                    for v in 0..vectors {
                        let value = load::<KIND>(values, at + v * 16, mask[v]);
                        for g in 0..G {
                            acc[g][v] = _mm512_fmadd_ps(w[g], value, acc[g][v]);
                        }
                    }
                }
            }
            for g in 0..G {
                for v in 0..vectors {
                    let at = out.add(g * dim + d + v * 16);
                    let sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask[v], at), acc[g][v]);
                    _mm512_mask_storeu_ps(at, mask[v], sum);
                }
            }
        }
    }
}

/// `out[i * n + s] = x[i] . rows[s]` for rows of bf16, `k` long each.
pub fn score_bf16(x: &[Bf16], k: usize, rows: &[Bf16], out: &mut [f32]) {
    let (m, n) = (x.len() / k, rows.len() / k);
    let w = Matrix { rows: n, columns: k, values: Values::Dense(Floats::Bf16(rows)) };
    let input = Input {
        m,
        k,
        x: Floats::Bf16(x),
        natural: Vec::new(),
        lanes: Default::default(),
        integers: Default::default(),
        sums: Default::default(),
    };
    gemm(&w, 0, n, &input, &mut out[..m * n]);
}

/// `out[i * n + d] += sum over s of weights[i * k + s] * values[s * stride + d]`
pub fn weigh_bf16(weights: &[Bf16], k: usize, values: &[Bf16], stride: usize, n: usize, out: &mut [f32]) {
    let m = weights.len() / k;
    assert!(weights.len() == m * k && out.len() >= m * n && values.len() >= (k - 1) * stride + n);
    let pairs = k.div_ceil(2);
    with_scratch(pairs * WIDE, |panel| {
        for j in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - j);
            // Two values, one after the other, become pairs.
            for (pair, row) in panel.chunks_exact_mut(WIDE).enumerate() {
                let first = &values[2 * pair * stride + j..][..wide];
                let second = if 2 * pair + 1 < k { &values[(2 * pair + 1) * stride + j..][..wide] } else { &[] };
                row[wide..].fill(0.0);
                if second.is_empty() {
                    for (o, a) in row.iter_mut().zip(first) {
                        *o = f32::from_bits(u32::from(a.to_bits()));
                    }
                }
                for ((o, a), b) in row.iter_mut().zip(first).zip(second) {
                    *o = f32::from_bits(u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16);
                }
            }
            for i in (0..m).step_by(TALL) {
                let a = Block {
                    x: weights[i * k..].as_ptr(),
                    k,
                    group: k,
                    groups: 1,
                    panel: panel.as_ptr(),
                    scales: std::ptr::null(),
                    biases: std::ptr::null(),
                    sums: std::ptr::null(),
                    wide,
                    out: out[i * n + j..].as_mut_ptr(),
                    ld: n,
                    add: true,
                };
                // SAFETY: as in `gemm`.
                unsafe { multiply(&a, TALL.min(m - i)) };
            }
        }
    });
}
