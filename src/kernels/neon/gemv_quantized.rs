//! gemv over codes with scales.

use std::arch::aarch64::*;
use std::arch::asm;

use super::codes::{E2M1, E4M3, bits, factor, lowest, next, numbers, read_scales, sixteen};
use super::register_tile::{for_sizes, most};
use crate::Level;
use crate::blocking::register_tiles;
use crate::codes::Codes;
use crate::input::{Input, as_integers, group_index, packing};
use crate::matrix::Grouped;
use crate::scratch::with_scratch;

/// The matrix has rows up to `from + n`.
pub fn gemv_quantized(level: Level, q: &Grouped<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let groups = input.k / q.group;
    let row_bytes = input.k * q.codes.bits() / 8;
    let integers = if as_integers(q.codes, input.x.kind()) { input.integers[packing(q.codes)].as_ref() } else { None };
    with_scratch(2 * n * groups, |scratch| {
        let (scales, biases) = scratch.split_at_mut(n * groups);
        read_scales(level, q, from * groups, n * groups, scales, biases);
        let sums = integers.map_or(&input.sums, |x| &x.sums);
        let sums = q.biases.map(|_| &sums[group_index(q.group)]);
        register_tiles(n, row_bytes, input.m, most, |j, rows, i, m| {
            let a = WeightRows {
                codes: q.bytes[(from + j) * row_bytes..].as_ptr(),
                row_bytes,
                scales: scales[j * groups..].as_ptr(),
                biases: biases[j * groups..].as_ptr(),
                sums: sums.map_or(std::ptr::null(), |s| s[i * groups..].as_ptr()),
                groups,
                group: q.group,
                factor: factor(q.codes),
                out: tile[i * n + j..].as_mut_ptr(),
                ld: n,
            };
            let natural = input.natural[i * input.k..].as_ptr();
            macro_rules! of_kind {
                ($kind:expr) => {
                    match integers.map(|x| x.from(i)) {
                        Some(x) if level >= Level::NeonDot => for_sizes!(with_dots, rows, m, [$kind], (&a, x)),
                        Some(x) => for_sizes!(without_dots, rows, m, [$kind], (&a, x)),
                        None => for_sizes!(by_floats, rows, m, [$kind], (&a, natural)),
                    }
                };
            }
            // SAFETY: codes, scales and biases have `rows` rows from here on, inputs and sums `m`; the level says that
            // the processor has dot products.
            unsafe {
                match q.codes {
                    Codes::Integer(2) => of_kind!(2),
                    Codes::Integer(3) => of_kind!(3),
                    Codes::Integer(4) => of_kind!(4),
                    Codes::Integer(5) => of_kind!(5),
                    Codes::Integer(6) => of_kind!(6),
                    Codes::Integer(_) => of_kind!(8),
                    Codes::E2m1 => of_kind!(E2M1),
                    Codes::E4m3 => for_sizes!(by_floats, rows, m, [E4M3], (&a, natural)),
                }
            }
        });
    });
}

/// Consecutive rows of a quantized matrix, and where results go.
struct WeightRows {
    codes: *const u8,
    row_bytes: usize,
    /// `groups` a row.
    scales: *const f32,
    biases: *const f32,
    /// `groups` a row of input; null where there are no biases.
    sums: *const f32,
    groups: usize,
    group: usize,
    factor: f32,
    out: *mut f32,
    /// Distance between the results of two rows of input.
    ld: usize,
}

impl WeightRows {
    /// Products of biases and sums, not yet added up.
    #[inline(always)]
    unsafe fn start<const R: usize, const M: usize>(&self) -> [[float32x4_t; M]; R] {
        // SAFETY: the caller vouches for `R` rows of biases and `M` rows of sums.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            let mut total = [[zero; M]; R];
            if self.sums.is_null() {
                return total;
            }
            let whole = self.groups / 4 * 4;
            for g in (0..whole).step_by(4) {
                for c in 0..M {
                    let sums = vld1q_f32(self.sums.add(c * self.groups + g));
                    for r in 0..R {
                        let biases = vld1q_f32(self.biases.add(r * self.groups + g));
                        total[r][c] = vfmaq_f32(total[r][c], biases, sums);
                    }
                }
            }
            for g in whole..self.groups {
                for c in 0..M {
                    let sum = vsetq_lane_f32::<0>(*self.sums.add(c * self.groups + g), zero);
                    for r in 0..R {
                        total[r][c] = vfmaq_n_f32(total[r][c], sum, *self.biases.add(r * self.groups + g));
                    }
                }
            }
            total
        }
    }

    #[inline(always)]
    unsafe fn finish<const R: usize, const M: usize>(&self, total: [[float32x4_t; M]; R]) {
        for (r, row) in total.into_iter().enumerate() {
            for (c, sums) in row.into_iter().enumerate() {
                // SAFETY: the caller vouches for `M` rows of `R` results.
                unsafe { *self.out.add(c * self.ld + r) = vaddvq_f32(sums) * self.factor };
            }
        }
    }
}

/// Any codes, 16 at a time, with `x` in f32.
unsafe fn by_floats<const R: usize, const M: usize, const KIND: u32>(a: &WeightRows, x: *const f32) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`.
    unsafe {
        let k = a.groups * a.group;
        let mut total = a.start::<R, M>();
        for g in 0..a.groups {
            let mut acc = [[vdupq_n_f32(0.0); M]; R];
            for at in (g * a.group..(g + 1) * a.group).step_by(16) {
                let v: [_; R] =
                    std::array::from_fn(|r| numbers::<KIND>(a.codes.add(r * a.row_bytes + at / 8 * bits(KIND))));
                for c in 0..M {
                    for i in 0..4 {
                        let xs = vld1q_f32(x.add(c * k + at + 4 * i));
                        for r in 0..R {
                            acc[r][c] = vfmaq_f32(acc[r][c], v[r][i], xs);
                        }
                    }
                }
            }
            for r in 0..R {
                for c in 0..M {
                    total[r][c] = vfmaq_n_f32(total[r][c], acc[r][c], *a.scales.add(r * a.groups + g));
                }
            }
        }
        a.finish(total);
    }
}

unsafe fn without_dots<const R: usize, const M: usize, const KIND: u32>(a: &WeightRows, x: (*const i8, *const f32)) {
    // SAFETY: the caller's promise.
    unsafe { by_integers::<R, M, KIND, false>(a, x) }
}

#[target_feature(enable = "dotprod")]
unsafe fn with_dots<const R: usize, const M: usize, const KIND: u32>(a: &WeightRows, x: (*const i8, *const f32)) {
    // SAFETY: the caller's promise.
    unsafe { by_integers::<R, M, KIND, true>(a, x) }
}

/// Integers and E2M1 with inputs as integers of 16 bits: sums of products of bytes, exact, with the upper bytes of the
/// inputs and with the lower ones; one rounding for each scale.
#[inline(always)]
unsafe fn by_integers<const R: usize, const M: usize, const KIND: u32, const DOT: bool>(
    a: &WeightRows,
    (x_bytes, x_scales): (*const i8, *const f32),
) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`, whose blocks are whole.
    unsafe {
        let packed = matches!(bits(KIND), 2 | 4);
        // Codes that a byte holds, that a register holds, that a block of `x` has.
        let steps = if packed { 8 / bits(KIND) } else { 1 };
        let (register, block) = (16 * steps, 64 * steps);
        let k = a.groups * a.group;
        let blocks = k.div_ceil(block);
        // Registers with one scale; it may also be half of one.
        let run = (a.group / register).clamp(1, 4);
        let halves = a.group < register;
        // Sizes of groups are powers of two.
        let group_bits = a.group.trailing_zeros();
        let zero = vdupq_n_s32(0);
        let mut total = a.start::<R, M>();
        for b in 0..blocks {
            let registers = (k - b * block).div_ceil(register).min(4);
            for first in (0..registers).step_by(run) {
                // With the upper and with the lower bytes.
                let mut sums = [[[zero; 2]; M]; R];
                for i in first..first + run {
                    let at = b * block + i * register;
                    let x: [_; M] = std::array::from_fn(|c| x_bytes.add((c * blocks + b) * 2 * block + i * 16));
                    let codes = |r: usize| a.codes.add(r * a.row_bytes + at / 8 * bits(KIND));
                    if packed {
                        let bytes: [_; R] = std::array::from_fn(|r| sixteen_bytes::<KIND>(codes(r), k - at));
                        add_packed::<R, M, KIND, DOT>(&mut sums, bytes, x);
                    } else {
                        let codes: [_; R] = std::array::from_fn(|r| [sixteen::<KIND>(codes(r))]);
                        add::<R, M, KIND, DOT, 1>(&mut sums, codes, x);
                    }
                }
                let g = (b * block + first * register) >> group_bits;
                for c in 0..M {
                    let x_scale = *x_scales.add(c * blocks + b);
                    for r in 0..R {
                        let scales = a.scales.add(r * a.groups + g);
                        let scale = if halves {
                            // After the last group there is nothing, and the sums are zero.
                            let second = scales.add(usize::from(g + 1 < a.groups));
                            vcombine_f32(vdup_n_f32(*scales), vdup_n_f32(*second))
                        } else {
                            vdupq_n_f32(*scales)
                        };
                        let [upper, lower] = sums[r][c];
                        let sum = vcvtq_f32_s32(vmlaq_n_s32(lower, upper, 256));
                        total[r][c] = vfmaq_f32(total[r][c], sum, vmulq_n_f32(scale, x_scale));
                    }
                }
            }
        }
        a.finish(total);
    }
}

/// 16 bytes, or 8 and zeros where there are no more codes: rows of 2-bit codes may end there.
#[inline(always)]
unsafe fn sixteen_bytes<const KIND: u32>(at: *const u8, codes: usize) -> uint8x16_t {
    // SAFETY: the caller's promise that as many codes, a multiple of 32, are readable.
    unsafe { if KIND == 2 && codes < 64 { vcombine_u8(vld1_u8(at), vdup_n_u8(0)) } else { vld1q_u8(at) } }
}

#[inline(always)]
unsafe fn add_packed<const R: usize, const M: usize, const KIND: u32, const DOT: bool>(
    sums: &mut [[[int32x4_t; 2]; M]; R],
    mut bytes: [uint8x16_t; R],
    x: [*const i8; M],
) {
    let mut step = || {
        let codes = bytes.map(lowest::<KIND>);
        bytes = bytes.map(next::<KIND>);
        codes
    };
    // SAFETY: the caller's promise.
    unsafe {
        if bits(KIND) == 4 {
            let steps = [step(), step()];
            add::<R, M, KIND, DOT, 2>(sums, std::array::from_fn(|r| steps.map(|s| s[r])), x);
        } else {
            let steps = [step(), step(), step(), step()];
            add::<R, M, KIND, DOT, 4>(sums, std::array::from_fn(|r| steps.map(|s| s[r])), x);
        }
    }
}

/// Adds products of 16 bytes of weights, each of `STEPS` codes, to sums of four bytes in a row.
#[inline(always)]
unsafe fn add<const R: usize, const M: usize, const KIND: u32, const DOT: bool, const STEPS: usize>(
    sums: &mut [[[int32x4_t; 2]; M]; R],
    codes: [[int8x16_t; STEPS]; R],
    x: [*const i8; M],
) {
    // SAFETY: the caller vouches for the inputs: steps are 64 bytes apart, lower bytes come after all upper ones.
    unsafe {
        let load = |c: usize, half: usize, step: usize| vld1q_s8(x[c].add((half * STEPS + step) * 64));
        for c in 0..M {
            for half in 0..2 {
                if DOT {
                    for step in 0..STEPS {
                        let xs = load(c, half, step);
                        for r in 0..R {
                            sums[r][c][half] = dot(sums[r][c][half], codes[r][step], xs);
                        }
                    }
                    continue;
                }
                for r in 0..R {
                    let sum = &mut sums[r][c][half];
                    let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
                    for step in 0..STEPS {
                        let xs = load(c, half, step);
                        low = vmlal_s8(low, vget_low_s8(codes[r][step]), vget_low_s8(xs));
                        high = vmlal_high_s8(high, codes[r][step], xs);
                    }
                    if KIND == 8 {
                        // Two products of eight bits may be too large for 16 together.
                        *sum = vpadalq_s16(vpadalq_s16(*sum, low), high);
                    } else {
                        *sum = vpadalq_s16(*sum, vpaddq_s16(low, high));
                    }
                }
            }
        }
    }
}

/// Adds products of bytes, four of them to each sum. Inlined into functions that have dot products.
#[inline(always)]
unsafe fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: the caller's promise that the processor can do this.
    unsafe {
        asm!("sdot {s:v}.4s, {a:v}.16b, {b:v}.16b", s = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
