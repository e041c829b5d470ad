//! gemv over codes with scales.

use std::arch::x86_64::*;

use super::codes::{E2M1, E4M3, numbers};
use super::register_tile::{for_sizes, most};
use super::vector::{first_lanes, reduce};
use crate::Level;
use crate::blocking::register_tiles;
use crate::codes::Codes;
use crate::input::{Input, as_integers, group_index, lane_block, packing};
use crate::matrix::Grouped;
use crate::scratch::with_scratch;

pub fn gemv_quantized(q: &Grouped<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let groups = input.k / q.group;
    let row_bytes = input.k * q.codes.bits() / 8;
    let integers = if as_integers(q.codes, input.x.kind()) { input.integers[packing(q.codes)].as_ref() } else { None };
    with_scratch(2 * n * groups, |scratch| {
        let (scales, biases) = scratch.split_at_mut(n * groups);
        q.scales.read(Level::Avx2, from * groups, scales);
        if let Some(b) = q.biases {
            b.slice(from * groups, n * groups).read(Level::Avx2, biases);
        }
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
                out: tile[i * n + j..].as_mut_ptr(),
                ld: n,
            };
            let natural = input.natural[i * input.k..].as_ptr();
            // SAFETY: as in `gemv_dense`; codes, scales and biases have `rows` rows from here on, inputs and sums `m`.
            unsafe {
                match (q.codes, integers.map(|x| x.from(i))) {
                    (Codes::Integer(2), Some(x)) => for_sizes!(by_integers, rows, m, [2], (&a, x)),
                    (Codes::Integer(4), Some(x)) => for_sizes!(by_integers, rows, m, [4], (&a, x)),
                    (Codes::Integer(_), Some(x)) => for_sizes!(by_integers, rows, m, [8], (&a, x)),
                    (Codes::Integer(2), _) => for_sizes!(by_floats, rows, m, [2], (&a, natural)),
                    (Codes::Integer(3), _) => for_sizes!(by_floats, rows, m, [3], (&a, natural)),
                    (Codes::Integer(4), _) => for_sizes!(by_floats, rows, m, [4], (&a, natural)),
                    (Codes::Integer(5), _) => for_sizes!(by_floats, rows, m, [5], (&a, natural)),
                    (Codes::Integer(6), _) => for_sizes!(by_floats, rows, m, [6], (&a, natural)),
                    (Codes::Integer(_), _) => for_sizes!(by_floats, rows, m, [8], (&a, natural)),
                    (Codes::E2m1, _) => for_sizes!(by_floats, rows, m, [E2M1], (&a, natural)),
                    (Codes::E4m3, _) => for_sizes!(by_floats, rows, m, [E4M3], (&a, natural)),
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
    out: *mut f32,
    /// Distance between the results of two rows of input.
    ld: usize,
}

impl WeightRows {
    /// Products of biases and sums, not yet added up.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn start<const R: usize, const M: usize>(&self) -> [[__m256; M]; R] {
        let mut total = [[_mm256_setzero_ps(); M]; R];
        if self.sums.is_null() {
            return total;
        }
        for g in (0..self.groups).step_by(8) {
            let mask = first_lanes(self.groups - g);
            for c in 0..M {
                // SAFETY: the caller vouches for `R` rows of biases and `M` rows of sums; others are masked away.
                unsafe {
                    let sums = _mm256_maskload_ps(self.sums.add(c * self.groups + g), mask);
                    for r in 0..R {
                        let biases = _mm256_maskload_ps(self.biases.add(r * self.groups + g), mask);
                        total[r][c] = _mm256_fmadd_ps(biases, sums, total[r][c]);
                    }
                }
            }
        }
        total
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn finish<const R: usize, const M: usize>(&self, total: &[[__m256; M]; R]) {
        for (r, row) in total.iter().enumerate() {
            for (c, sums) in row.iter().enumerate() {
                // SAFETY: the caller vouches for `M` rows of `R` results.
                unsafe { *self.out.add(c * self.ld + r) = reduce(*sums) };
            }
        }
    }
}

/// Sums of products of codes and bytes, exact, with the upper bytes of the inputs and with the lower ones; one rounding
/// for each scale.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_integers<const R: usize, const M: usize, const BITS: usize>(
    a: &WeightRows,
    (x_bytes, x_scales): (*const i8, *const f32),
) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`, whose blocks are whole; reads beyond
    // a row's end are masked away.
    unsafe {
        let block = lane_block(BITS);
        // Codes of a register, half a block.
        let register = block / 2;
        let k = a.groups * a.group;
        let blocks = k.div_ceil(block);
        let group_bits = a.group.trailing_zeros();
        let groups_a_register = (register / a.group).max(1);
        let lanes_a_group = 8 / groups_a_register;
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let group_of_lane = _mm256_srl_epi32(lane, _mm_cvtsi32_si128(lanes_a_group.trailing_zeros() as i32));
        let (one, two_to_the_8) = (_mm256_set1_epi16(1), _mm256_set1_epi16(256));
        let mut total = a.start::<R, M>();
        for at in (0..k).step_by(register) {
            let b = at / block;
            let g = at >> group_bits;
            let x_at = b * 2 * block + at % block / register * 32;
            let bytes = (k - at) * BITS / 8;
            let groups = _mm256_castsi256_si128(first_lanes(groups_a_register.min(a.groups - g)));
            for r in 0..R {
                let codes = a.codes.add(r * a.row_bytes + at * BITS / 8);
                let codes = if bytes >= 32 {
                    _mm256_loadu_si256(codes.cast())
                } else {
                    _mm256_maskload_epi32(codes.cast(), first_lanes(bytes / 4))
                };
                let scales = _mm256_castps128_ps256(_mm_maskload_ps(a.scales.add(r * a.groups + g), groups));
                let scales = _mm256_permutevar8x32_ps(scales, group_of_lane);
                for c in 0..M {
                    let x = x_bytes.add(c * blocks * 2 * block + x_at);
                    let upper = pairs::<BITS>(codes, x, two_to_the_8);
                    let lower = pairs::<BITS>(codes, x.add(block), one);
                    let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(upper, lower));
                    let scale = _mm256_mul_ps(scales, _mm256_set1_ps(*x_scales.add(c * blocks + b)));
                    total[r][c] = _mm256_fmadd_ps(sum, scale, total[r][c]);
                }
            }
        }
        a.finish(&total);
    }
}

/// Sums over the four bytes of each lane, times a factor. Products are of at most four bits with eight, so that sums of
/// four steps fit into 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pairs<const BITS: usize>(codes: __m256i, x: *const i8, factor: __m256i) -> __m256i {
    // SAFETY: the caller vouches for the inputs: steps are 64 bytes apart.
    unsafe {
        let lowest = |codes: __m256i, bits: usize| _mm256_and_si256(codes, _mm256_set1_epi8((1 << bits) - 1));
        let load = |step: usize| _mm256_loadu_si256(x.add(64 * step).cast());
        match BITS {
            8 => {
                let x = load(0);
                let low = _mm256_maddubs_epi16(lowest(codes, 4), x);
                let high = _mm256_maddubs_epi16(lowest(_mm256_srli_epi16::<4>(codes), 4), x);
                let high = _mm256_slli_epi32::<4>(_mm256_madd_epi16(high, factor));
                _mm256_add_epi32(_mm256_madd_epi16(low, factor), high)
            }
            4 => {
                let low = _mm256_maddubs_epi16(lowest(codes, 4), load(0));
                let high = _mm256_maddubs_epi16(lowest(_mm256_srli_epi16::<4>(codes), 4), load(1));
                _mm256_madd_epi16(_mm256_add_epi16(low, high), factor)
            }
            _ => {
                let a = _mm256_maddubs_epi16(lowest(codes, 2), load(0));
                let b = _mm256_maddubs_epi16(lowest(_mm256_srli_epi16::<2>(codes), 2), load(1));
                let c = _mm256_maddubs_epi16(lowest(_mm256_srli_epi16::<4>(codes), 2), load(2));
                let d = _mm256_maddubs_epi16(lowest(_mm256_srli_epi16::<6>(codes), 2), load(3));
                _mm256_madd_epi16(_mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_add_epi16(c, d)), factor)
            }
        }
    }
}

/// Any codes, with `x` in f32.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_floats<const R: usize, const M: usize, const KIND: usize>(a: &WeightRows, x: *const f32) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`.
    unsafe {
        let k = a.groups * a.group;
        let mut total = a.start::<R, M>();
        for g in 0..a.groups {
            // Two sums each, so that one need not wait for the other.
            let mut acc = [[[_mm256_setzero_ps(); 2]; M]; R];
            for at in (g * a.group..(g + 1) * a.group).step_by(16) {
                for h in 0..2 {
                    let at = at + 8 * h;
                    let mut v = [_mm256_setzero_ps(); R];
                    for r in 0..R {
                        v[r] = numbers::<KIND>(a.codes.add(r * a.row_bytes + at / 8 * (KIND % 10)));
                    }
                    for c in 0..M {
                        let xs = _mm256_loadu_ps(x.add(c * k + at));
                        for r in 0..R {
                            acc[r][c][h] = _mm256_fmadd_ps(v[r], xs, acc[r][c][h]);
                        }
                    }
                }
            }
            for r in 0..R {
                let scale = _mm256_set1_ps(*a.scales.add(r * a.groups + g));
                for c in 0..M {
                    let sum = _mm256_add_ps(acc[r][c][0], acc[r][c][1]);
                    total[r][c] = _mm256_fmadd_ps(sum, scale, total[r][c]);
                }
            }
        }
        a.finish(&total);
    }
}
