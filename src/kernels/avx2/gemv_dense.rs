//! gemv over dense weights.

use std::arch::x86_64::*;

use super::register_tile::{for_sizes, most};
use super::vector::{load, load_one, reduce, size};
use crate::blocking::register_tiles;
use crate::input::Input;

/// `w` is a matrix of `input.k` columns, of which there are rows up to `from + n`.
pub fn gemv_dense<const KIND: u32>(w: *const u8, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let row_bytes = input.k * size(KIND);
    register_tiles(n, row_bytes, input.m, most, |j, rows, i, m| {
        let (x, out) = (input.natural[i * input.k..].as_ptr(), tile[i * n + j..].as_mut_ptr());
        // SAFETY: the processor has AVX2, FMA and F16C, which the caller's level says; `rows` rows of weights, `m` rows of
        // `x` and their results are within bounds.
        unsafe { for_sizes!(dots, rows, m, [KIND], (w.add((from + j) * row_bytes), input.k, x, out, n)) }
    });
}

/// `R` rows of dense weights, `k` apart, with `M` rows of `x`. `out[i * ld + r]`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots<const R: usize, const M: usize, const KIND: u32>(
    w: *const u8,
    k: usize,
    x: *const f32,
    out: *mut f32,
    ld: usize,
) {
    // SAFETY: all reads are of the first `k` elements of rows that the caller vouches for.
    unsafe {
        // Two sums each, so that one need not wait for the other.
        let mut acc = [[[_mm256_setzero_ps(); 2]; M]; R];
        let whole = k / 16 * 16;
        for i in (0..whole).step_by(16) {
            for h in 0..2 {
                let i = i + 8 * h;
                let mut v = [_mm256_setzero_ps(); R];
                for r in 0..R {
                    v[r] = load::<KIND>(w.add((r * k + i) * size(KIND)));
                }
                for c in 0..M {
                    let xs = _mm256_loadu_ps(x.add(c * k + i));
                    for r in 0..R {
                        acc[r][c][h] = _mm256_fmadd_ps(v[r], xs, acc[r][c][h]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..M {
                let mut sum = reduce(_mm256_add_ps(acc[r][c][0], acc[r][c][1]));
                for i in whole..k {
                    sum = load_one::<KIND>(w.add((r * k + i) * size(KIND))).mul_add(*x.add(c * k + i), sum);
                }
                *out.add(c * ld + r) = sum;
            }
        }
    }
}
