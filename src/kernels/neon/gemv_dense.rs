//! gemv over dense weights.

use std::arch::aarch64::*;

use super::register_tile::{for_sizes, most};
use crate::blocking::register_tiles;
use crate::floats;
use crate::input::Input;

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const BF16: u32 = 2;

/// `w` is a matrix of `input.k` columns, of which there are rows up to `from + n`.
pub fn gemv_dense<const KIND: u32>(w: *const u8, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let row_bytes = input.k * size(KIND);
    register_tiles(n, row_bytes, input.m, most, |j, rows, i, m| {
        let (x, out) = (input.natural[i * input.k..].as_ptr(), tile[i * n + j..].as_mut_ptr());
        // SAFETY: `rows` rows of weights, `m` rows of `x` and their results are within bounds.
        unsafe { for_sizes!(dots, rows, m, [KIND], (w.add((from + j) * row_bytes), input.k, x, out, n)) }
    });
}

const fn size(kind: u32) -> usize {
    if kind == F32 { 4 } else { 2 }
}

/// Eight numbers.
#[inline(always)]
unsafe fn load<const KIND: u32>(at: *const u8) -> [float32x4_t; 2] {
    // SAFETY: the caller's promise that they are readable.
    unsafe {
        match KIND {
            F32 => [vld1q_f32(at.cast()), vld1q_f32(at.cast::<f32>().add(4))],
            F16 => {
                let half = vreinterpretq_f16_u16(vld1q_u16(at.cast()));
                [vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)]
            }
            _ => {
                let half = vld1q_u16(at.cast());
                let wide = [vshll_n_u16::<16>(vget_low_u16(half)), vshll_high_n_u16::<16>(half)];
                wide.map(|w| vreinterpretq_f32_u32(w))
            }
        }
    }
}

/// One number.
#[inline(always)]
unsafe fn load_one<const KIND: u32>(at: *const u8) -> f32 {
    // SAFETY: the caller's promise that it is readable.
    unsafe {
        match KIND {
            F32 => *at.cast::<f32>(),
            F16 => (*at.cast::<floats::F16>()).to_f32(),
            _ => (*at.cast::<floats::Bf16>()).to_f32(),
        }
    }
}

/// `R` rows of dense weights, `k` apart, with `M` rows of `x`. `out[i * ld + r]`.
unsafe fn dots<const R: usize, const M: usize, const KIND: u32>(
    w: *const u8,
    k: usize,
    x: *const f32,
    out: *mut f32,
    ld: usize,
) {
    // SAFETY: all reads are of the first `k` elements of rows that the caller vouches for.
    unsafe {
        let mut acc = [[[vdupq_n_f32(0.0); 2]; M]; R];
        let whole = k / 8 * 8;
        for i in (0..whole).step_by(8) {
            let v: [_; R] = std::array::from_fn(|r| load::<KIND>(w.add((r * k + i) * size(KIND))));
            for c in 0..M {
                for h in 0..2 {
                    let xs = vld1q_f32(x.add(c * k + i + 4 * h));
                    for r in 0..R {
                        acc[r][c][h] = vfmaq_f32(acc[r][c][h], v[r][h], xs);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..M {
                let mut sum = vaddvq_f32(vaddq_f32(acc[r][c][0], acc[r][c][1]));
                for i in whole..k {
                    sum = load_one::<KIND>(w.add((r * k + i) * size(KIND))).mul_add(*x.add(c * k + i), sum);
                }
                *out.add(c * ld + r) = sum;
            }
        }
    }
}
