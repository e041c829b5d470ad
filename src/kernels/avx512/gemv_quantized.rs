//! gemv over codes with scales.

use std::arch::x86_64::*;

use super::codes::{E4M3, bytes_of, numbers_of};
use super::register_tile::for_sizes;
use super::vector::{AHEAD, BF16, F16, F32, fetch, first_lanes, load};
use crate::Level;
use crate::blocking::register_tiles;
use crate::codes::Codes;
use crate::floats::{Floats, Kind};
use crate::input::{Input, as_integers, by_table, group_index, lane_block, packing};
use crate::matrix::{Grouped, Scales};
use crate::scratch::with_scratch;

/// The matrix has rows up to `from + n`.
pub fn gemv_quantized(q: &Grouped<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let row_bytes = input.k * q.codes.bits() / 8;
    let groups = input.k / q.group;
    let integers = if as_integers(q.codes, input.x.kind()) { input.integers[packing(q.codes)].as_ref() } else { None };
    let converted = if matches!(q.scales, Scales::Floats(_)) { 0 } else { n * groups };
    with_scratch(converted, |scratch| {
        let scales = match q.scales {
            Scales::Floats(s) => s.slice(from * groups, n * groups),
            Scales::Exponents(_) | Scales::E4m3(_) => {
                q.scales.read(Level::Avx512, from * groups, scratch);
                Floats::F32(scratch)
            }
        };
        // Without biases there are no sums, and nobody reads these.
        let (scales, biases) = (
            Numbers::of(scales),
            q.biases.map_or(Numbers::of(scales), |b| Numbers::of(b.slice(from * groups, n * groups))),
        );
        let sums = integers.map_or(&input.sums, |x| &x.sums);
        let sums = q.biases.map(|_| &sums[group_index(q.group)]);
        let table = if by_table(q.codes) { q.codes.table() } else { [0.0; 16] };
        let most = |m| if m <= 2 { 4 } else { 2 };
        register_tiles(n, row_bytes, input.m, most, |j, rows, i, m| {
            let a = WeightRows {
                codes: q.bytes[(from + j) * row_bytes..].as_ptr(),
                row_bytes,
                scales: scales.from(j * groups),
                biases: biases.from(j * groups),
                sums: sums.map_or(std::ptr::null(), |s| s[i * groups..].as_ptr()),
                groups,
                group: q.group,
                table: &table,
                ld: n,
            };
            let out = tile[i * n + j..].as_mut_ptr();
            let natural = input.natural[i * input.k..].as_ptr();
            let lanes = |bits: usize| input.lanes[bits / 4][i * input.k.next_multiple_of(lane_block(bits))..].as_ptr();
            // SAFETY: the processor has AVX-512, which the caller's level says; codes, scales and biases have `rows` rows
            // from here on, inputs and sums `m`.
            unsafe {
                match (integers.map(|x| x.from(i)), q.codes.bits()) {
                    (Some(x), 4) => for_sizes!(by_integers, rows, m, [4], (&a, x, out)),
                    (Some(x), 2) => for_sizes!(by_integers, rows, m, [2], (&a, x, out)),
                    (Some(x), _) => for_sizes!(by_integers, rows, m, [8], (&a, x, out)),
                    (_, 4) => for_sizes!(by_lanes, rows, m, [4], (&a, lanes(4), out)),
                    (_, 2) => for_sizes!(by_lanes, rows, m, [2], (&a, lanes(2), out)),
                    (_, 3) => for_sizes!(by_bytes, rows, m, [3], (&a, natural, out)),
                    (_, 5) => for_sizes!(by_bytes, rows, m, [5], (&a, natural, out)),
                    (_, 6) => for_sizes!(by_bytes, rows, m, [6], (&a, natural, out)),
                    (_, _) if q.codes == Codes::E4m3 => for_sizes!(by_bytes, rows, m, [E4M3], (&a, natural, out)),
                    (_, _) => for_sizes!(by_bytes, rows, m, [8], (&a, natural, out)),
                }
            }
        });
    });
}

/// Scales or biases as they are stored.
#[derive(Clone, Copy)]
struct Numbers {
    start: *const u8,
    kind: Kind,
}

impl Numbers {
    fn of(floats: Floats<'_>) -> Numbers {
        let start = match floats {
            Floats::F32(s) => s.as_ptr().cast(),
            Floats::F16(s) => s.as_ptr().cast(),
            Floats::Bf16(s) => s.as_ptr().cast(),
        };
        Numbers { start, kind: floats.kind() }
    }

    /// Those from the `index`th on.
    fn from(self, index: usize) -> Numbers {
        Numbers { start: self.start.wrapping_add(index * self.kind.size()), ..self }
    }

    /// The first `mask` of 16 from `index` on, zeros beyond.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn load(self, index: usize, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise that the masked numbers are readable.
        unsafe {
            match self.kind {
                Kind::F32 => load::<F32>(self.start, index, mask),
                Kind::F16 => load::<F16>(self.start, index, mask),
                Kind::Bf16 => load::<BF16>(self.start, index, mask),
            }
        }
    }
}

/// Consecutive rows of a quantized matrix.
struct WeightRows<'a> {
    codes: *const u8,
    row_bytes: usize,
    /// `groups` a row.
    scales: Numbers,
    biases: Numbers,
    /// `groups` a row of input; null where there are no biases.
    sums: *const f32,
    groups: usize,
    group: usize,
    table: &'a [f32; 16],
    /// Distance between the results of two rows of input.
    ld: usize,
}

impl WeightRows<'_> {
    /// Scales of groups from `g` on, up to 16, for `R` rows of weights; adds to `total` what their biases contribute.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn scales<const R: usize, const M: usize>(&self, g: usize, total: &mut [[__m512; M]; R]) -> [__m512; R] {
        // SAFETY: the caller vouches for `R` rows of scales and biases and `M` rows of sums.
        unsafe {
            let mask = first_lanes(self.groups - g);
            let mut scales = [_mm512_setzero_ps(); R];
            for r in 0..R {
                scales[r] = self.scales.load(r * self.groups + g, mask);
            }
            if !self.sums.is_null() {
                let mut biases = [_mm512_setzero_ps(); R];
                for r in 0..R {
                    biases[r] = self.biases.load(r * self.groups + g, mask);
                }
                for c in 0..M {
                    let sums = _mm512_maskz_loadu_ps(mask, self.sums.add(c * self.groups + g));
                    for r in 0..R {
                        total[r][c] = _mm512_fmadd_ps(biases[r], sums, total[r][c]);
                    }
                }
            }
            scales
        }
    }

    /// Fetches the scales and biases of the rows that [`AHEAD`] reaches, `rows` of them.
    #[inline(always)]
    fn fetch_scales(&self, rows: usize) {
        let further = AHEAD.div_ceil(self.row_bytes) * self.groups;
        let numbers = [Some(self.scales), (!self.sums.is_null()).then_some(self.biases)];
        for numbers in numbers.into_iter().flatten() {
            let from = numbers.from(further).start.wrapping_sub(AHEAD);
            fetch(from, rows * self.groups * numbers.kind.size());
        }
    }
}

/// Codes of 2 or 4 bits. Each 32-bit lane holds consecutive codes; shifting brings the next to the lowest bits, where a
/// table lookup, which ignores the bits above, makes a number of it. `x` is in that order (`Input::lanes`).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn by_lanes<const R: usize, const M: usize, const BITS: u32>(a: &WeightRows<'_>, x: *const f32, out: *mut f32) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`; reads beyond a row's end are
    // masked away.
    unsafe {
        let block = lane_block(BITS as usize);
        a.fetch_scales(R);
        let steps = 32 / BITS as usize;
        let groups_a_block = block / a.group;
        let lanes_a_group = 16 / groups_a_block;
        let stride = (a.groups * a.group).next_multiple_of(block);
        let table = _mm512_loadu_ps(a.table.as_ptr());
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let group_of_lane = _mm512_srl_epi32(lane, _mm_cvtsi32_si128(lanes_a_group.trailing_zeros() as i32));
        let mut total = [[_mm512_setzero_ps(); M]; R];
        let mut codes = a.codes;
        let mut xs = x;
        let mut g = 0;
        while g < a.groups {
            let n = (a.groups - g).min(16);
            let scales = a.scales::<R, M>(g, &mut total);
            let mut done = 0;
            while done < n {
                let mask = first_lanes((n - done) * lanes_a_group);
                let mut w = [_mm512_setzero_si512(); R];
                fetch(a.codes.wrapping_add(R * codes.offset_from_unsigned(a.codes)), R * 64);
                for r in 0..R {
                    w[r] = _mm512_maskz_loadu_epi32(mask, codes.add(r * a.row_bytes).cast());
                }
                let mut acc = [[_mm512_setzero_ps(); M]; R];
                for j in 0..steps {
                    let mut v = [_mm512_setzero_ps(); R];
                    for r in 0..R {
                        v[r] = _mm512_permutexvar_ps(w[r], table);
                        w[r] = _mm512_srli_epi32::<BITS>(w[r]);
                    }
                    for c in 0..M {
                        let xv = _mm512_loadu_ps(xs.add(c * stride + j * 16));
                        for r in 0..R {
                            acc[r][c] = _mm512_fmadd_ps(v[r], xv, acc[r][c]);
                        }
                    }
                }
                let of_lane = _mm512_add_epi32(group_of_lane, _mm512_set1_epi32(done as i32));
                for r in 0..R {
                    let scale = _mm512_permutexvar_ps(of_lane, scales[r]);
                    for c in 0..M {
                        total[r][c] = _mm512_fmadd_ps(acc[r][c], scale, total[r][c]);
                    }
                }
                codes = codes.add(64);
                xs = xs.add(block);
                done += groups_a_block;
            }
            g += 16;
        }
        for r in 0..R {
            for c in 0..M {
                *out.add(c * a.ld + r) = _mm512_reduce_add_ps(total[r][c]);
            }
        }
    }
}

/// Codes of 2, 4 or 8 bits and inputs as integers of 16 bits: sums of products of bytes, exact, with the upper bytes of
/// the inputs and with the lower ones; one rounding a block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn by_integers<const R: usize, const M: usize, const BITS: u32>(
    a: &WeightRows<'_>,
    (x_bytes, x_scales): (*const i8, *const f32),
    out: *mut f32,
) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`; reads beyond a row's end are
    // masked away.
    unsafe {
        let block = lane_block(BITS as usize);
        a.fetch_scales(R);
        let steps = 8 / BITS as usize;
        let groups_a_block = (block / a.group).max(1);
        // With 8 bits a group may have several blocks.
        let blocks_a_group = (a.group / block).max(1);
        let lanes_a_group = 16 / groups_a_block;
        let blocks = (a.groups * a.group).div_ceil(block);
        let codes_of = _mm512_set1_epi8(((1u32 << BITS) - 1) as i8);
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let group_of_lane = _mm512_srl_epi32(lane, _mm_cvtsi32_si128(lanes_a_group.trailing_zeros() as i32));
        let mut total = [[_mm512_setzero_ps(); M]; R];
        let mut block_at = 0;
        let mut g = 0;
        while g < a.groups {
            let n = (a.groups - g).min(16);
            let scales = a.scales::<R, M>(g, &mut total);
            let mut done = 0;
            while done < n {
                let of_lane = _mm512_add_epi32(group_of_lane, _mm512_set1_epi32(done as i32));
                let mask = first_lanes((n - done) * lanes_a_group);
                for _ in 0..blocks_a_group {
                    let mut w = [_mm512_setzero_si512(); R];
                    fetch(a.codes.wrapping_add(R * block_at * 64), R * 64);
                    for r in 0..R {
                        w[r] = _mm512_maskz_loadu_epi32(mask, a.codes.add(r * a.row_bytes + block_at * 64).cast());
                    }
                    let mut upper = [[_mm512_setzero_si512(); M]; R];
                    let mut lower = [[_mm512_setzero_si512(); M]; R];
                    for j in 0..steps {
                        for c in 0..M {
                            let at = x_bytes.add((c * blocks + block_at) * 2 * block + j * 64);
                            let high = _mm512_loadu_si512(at.cast());
                            let low = _mm512_loadu_si512(at.add(block).cast());
                            for r in 0..R {
                                let codes = if BITS == 8 { w[r] } else { _mm512_and_si512(w[r], codes_of) };
                                upper[r][c] = _mm512_dpbusd_epi32(upper[r][c], codes, high);
                                lower[r][c] = _mm512_dpbusd_epi32(lower[r][c], codes, low);
                            }
                        }
                        for r in 0..R {
                            w[r] = _mm512_srli_epi32::<BITS>(w[r]);
                        }
                    }
                    for c in 0..M {
                        let x_scale = _mm512_set1_ps(*x_scales.add(c * blocks + block_at));
                        for r in 0..R {
                            let sum = _mm512_add_epi32(_mm512_slli_epi32::<8>(upper[r][c]), lower[r][c]);
                            let scale = _mm512_mul_ps(_mm512_permutexvar_ps(of_lane, scales[r]), x_scale);
                            total[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, total[r][c]);
                        }
                    }
                    block_at += 1;
                }
                done += groups_a_block;
            }
            g += 16;
        }
        for r in 0..R {
            for c in 0..M {
                *out.add(c * a.ld + r) = _mm512_reduce_add_ps(total[r][c]);
            }
        }
    }
}

/// Codes of 3, 5, 6 or 8 bits, 32 at a time, with `x` in its natural order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,f16c")]
unsafe fn by_bytes<const R: usize, const M: usize, const BITS: u32>(a: &WeightRows<'_>, x: *const f32, out: *mut f32) {
    // SAFETY: the caller vouches for `R` rows of codes and scales and `M` rows of `x`.
    unsafe {
        let k = a.groups * a.group;
        let width = if BITS == E4M3 { 8 } else { BITS as usize };
        let mut total = [[_mm512_setzero_ps(); M]; R];
        let mut scales = [_mm512_setzero_ps(); R];
        a.fetch_scales(R);
        for g in 0..a.groups {
            if g % 16 == 0 {
                scales = a.scales::<R, M>(g, &mut total);
            }
            let of_group = _mm512_set1_epi32((g % 16) as i32);
            fetch(a.codes.wrapping_add(R * (g * a.group / 8 * width)), R * (a.group / 8 * width));
            let mut acc = [[_mm512_setzero_ps(); M]; R];
            for part in 0..a.group / 32 {
                let at = g * a.group + part * 32;
                let mut low = [_mm512_setzero_ps(); R];
                let mut high = [_mm512_setzero_ps(); R];
                for r in 0..R {
                    let bytes = bytes_of::<BITS>(a.codes.add(r * a.row_bytes + at / 8 * width));
                    low[r] = numbers_of::<BITS>(_mm256_castsi256_si128(bytes));
                    high[r] = numbers_of::<BITS>(_mm256_extracti128_si256::<1>(bytes));
                }
                for c in 0..M {
                    let xl = _mm512_loadu_ps(x.add(c * k + at));
                    let xh = _mm512_loadu_ps(x.add(c * k + at + 16));
                    for r in 0..R {
                        acc[r][c] = _mm512_fmadd_ps(low[r], xl, acc[r][c]);
                        acc[r][c] = _mm512_fmadd_ps(high[r], xh, acc[r][c]);
                    }
                }
            }
            for r in 0..R {
                let scale = _mm512_permutexvar_ps(of_group, scales[r]);
                for c in 0..M {
                    total[r][c] = _mm512_fmadd_ps(acc[r][c], scale, total[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..M {
                *out.add(c * a.ld + r) = _mm512_reduce_add_ps(total[r][c]);
            }
        }
    }
}
