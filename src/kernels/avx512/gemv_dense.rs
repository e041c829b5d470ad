//! gemv over dense weights. They take no work, only memory, which is read best in order.

use std::arch::x86_64::*;

use super::register_tile::for_sizes;
use super::vector::{BF16, F16, F32, fetch, first_lanes, load};
use crate::blocking::register_tiles;
use crate::floats::Floats;
use crate::input::Input;

/// The matrix has rows up to `from + n`.
pub fn gemv_dense(values: Floats<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let row_bytes = input.k * values.kind().size();
    let most = |m| if m <= 2 { 1 } else { 2 };
    register_tiles(n, row_bytes, input.m, most, |j, rows, i, m| {
        let at = (from + j) * input.k;
        let (x, out) = (input.natural[i * input.k..].as_ptr(), tile[i * n + j..].as_mut_ptr());
        // SAFETY: the processor has AVX-512, which the caller's level says; rows and tile are within bounds.
        unsafe {
            match values {
                Floats::F32(v) => for_sizes!(dots, rows, m, [F32], (v.as_ptr().add(at).cast(), input.k, x, out, n)),
                Floats::F16(v) => for_sizes!(dots, rows, m, [F16], (v.as_ptr().add(at).cast(), input.k, x, out, n)),
                Floats::Bf16(v) => for_sizes!(dots, rows, m, [BF16], (v.as_ptr().add(at).cast(), input.k, x, out, n)),
            }
        }
    });
}

/// `R` rows of dense weights, `k` apart, with `M` rows of `x`. `out[i * ld + r]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn dots<const R: usize, const M: usize, const KIND: u32>(
    w: *const u8,
    k: usize,
    x: *const f32,
    out: *mut f32,
    ld: usize,
) {
    let size = if KIND == F32 { 4 } else { 2 };
    // SAFETY: all reads are of the first `k` elements of rows that the caller vouches for.
    unsafe {
        // Two sums for each result, so that an addition need not wait for the one before.
        let mut acc = [[[_mm512_setzero_ps(); M]; R]; 2];
        for i in (0..k).step_by(32) {
            fetch(w.wrapping_add(i * R * size), R * 32 * size);
            for (part, acc) in acc.iter_mut().enumerate() {
                let at = i + part * 16;
                let mask = first_lanes(k.saturating_sub(at));
                let mut v = [_mm512_setzero_ps(); R];
                for r in 0..R {
                    v[r] = load::<KIND>(w, r * k + at, mask);
                }
                for c in 0..M {
                    let xs = _mm512_maskz_loadu_ps(mask, x.wrapping_add(c * k + at));
                    for r in 0..R {
                        acc[r][c] = _mm512_fmadd_ps(v[r], xs, acc[r][c]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..M {
                *out.add(c * ld + r) = _mm512_reduce_add_ps(_mm512_add_ps(acc[0][r][c], acc[1][r][c]));
            }
        }
    }
}
