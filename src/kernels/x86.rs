//! Products in AVX-512, by hand.
//!
//! A few rows of input: weights are unpacked in registers and used for all of them, several rows of weights at a time.
//! Many rows: a panel of 64 output features is put in the order in which `vdpbf16ps` reads pairs, then 6 rows of input
//! by 64 features are accumulated in registers.

use std::arch::x86_64::*;

use super::Level;
use super::codes::{Codes, E4M3_SCALE};
use super::floats::{Bf16, Floats, Kind};
use super::product::{Grouped, Matrix, Scales, Values};
use super::tile::{Prepared, by_table, group_index, in_bytes, lane_block, packing, pieces, with_scratch};

/// The level of everything here.
const LEVEL: Level = Level::Avx512;

/// Calls `$f::<R, M, ..>` with `$r` rows of weights and `$m` rows of input as constants.
macro_rules! for_sizes {
    ($f:ident, $r:expr, $m:expr, [$($more:expr),*], $args:tt) => {
        match ($r, $m) {
            (4, 1) => $f::<4, 1, $({ $more }),*> $args,
            (4, 2) => $f::<4, 2, $({ $more }),*> $args,
            (2, 1) => $f::<2, 1, $({ $more }),*> $args,
            (2, 2) => $f::<2, 2, $({ $more }),*> $args,
            (2, 3) => $f::<2, 3, $({ $more }),*> $args,
            (2, 4) => $f::<2, 4, $({ $more }),*> $args,
            (1, 1) => $f::<1, 1, $({ $more }),*> $args,
            (1, 2) => $f::<1, 2, $({ $more }),*> $args,
            (1, 3) => $f::<1, 3, $({ $more }),*> $args,
            (1, 4) => $f::<1, 4, $({ $more }),*> $args,
            _ => unreachable!("up to 4 rows"),
        }
    };
}

/// `tile[i * n + j] = x[i] . W[from + j]` for up to [`FEW`](super::tile::FEW) rows of input.
pub(super) fn few(w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    assert!(tile.len() == p.m * n && from + n <= w.rows);
    let grouped = w.grouped();
    let row_bytes = match (&grouped, w.values) {
        (Some(q), _) => p.k * q.codes.bits() / 8,
        (None, Values::Dense(Floats::F32(_))) => p.k * 4,
        (None, _) => p.k * 2,
    };
    // Plain weights take no work, only memory, which is read best in order.
    let plain = grouped.is_none();
    let most = |m| match m {
        1 | 2 if plain => 1,
        1 | 2 => 4,
        _ => 2,
    };
    let pieces = |f: &mut dyn FnMut(usize, usize, usize, usize)| pieces(n, row_bytes, p.m, most, f);
    let Some(q) = grouped else {
        let Values::Dense(values) = w.values else { unreachable!() };
        // SAFETY: the processor has AVX-512, which the caller's level says; rows and tile are within bounds.
        return pieces(&mut |j, rows, i, m| unsafe {
            let at = (from + j) * p.k;
            let (x, out) = (p.natural[i * p.k..].as_ptr(), tile[i * n + j..].as_mut_ptr());
            match values {
                Floats::F32(v) => for_sizes!(dense, rows, m, [F32], (v.as_ptr().add(at).cast(), p.k, x, out, n)),
                Floats::F16(v) => for_sizes!(dense, rows, m, [F16], (v.as_ptr().add(at).cast(), p.k, x, out, n)),
                Floats::Bf16(v) => for_sizes!(dense, rows, m, [BF16], (v.as_ptr().add(at).cast(), p.k, x, out, n)),
            }
        });
    };
    let groups = p.k / q.group;
    let integers = if in_bytes(q.codes, p.x.kind()) { p.bytes[packing(q.codes)].as_ref() } else { None };
    let converted = if matches!(q.scales, Scales::Floats(_)) { 0 } else { n * groups };
    with_scratch(converted, |scratch| {
        let scales = match q.scales {
            Scales::Floats(s) => s.slice(from * groups, n * groups),
            Scales::Exponents(_) | Scales::E4m3(_) => {
                q.scales.read(LEVEL, from * groups, scratch);
                Floats::F32(scratch)
            }
        };
        // Without biases there are no sums, and nobody reads these.
        let (scales, biases) = (
            Numbers::of(scales),
            q.biases.map_or(Numbers::of(scales), |b| Numbers::of(b.slice(from * groups, n * groups))),
        );
        let sums = integers.map_or(&p.sums, |x| &x.sums);
        let sums = q.biases.map(|_| &sums[group_index(q.group)]);
        let table = if by_table(q.codes) { q.codes.table() } else { [0.0; 16] };
        pieces(&mut |j, rows, i, m| {
            let a = GroupedRows {
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
            let natural = p.natural[i * p.k..].as_ptr();
            let lanes = |bits: usize| p.lanes[bits / 4][i * p.k.next_multiple_of(lane_block(bits))..].as_ptr();
            // SAFETY: as above; codes, scales and biases have `rows` rows from here on, inputs and sums `m`.
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

/// How far ahead of their use weights are fetched, in bytes.
const AHEAD: usize = 16384;

/// Fetches `count` bytes that lie `AHEAD` behind `at` into the second-level cache: when decoding, weights come straight from
/// memory, and the first level has too few outstanding misses to wait for it. Kernels that read several rows at a time
/// fetch them one behind the other all the same, because memory gives most when it is read in order.
#[inline(always)]
fn fetch(at: *const u8, count: usize) {
    for i in (0..count).step_by(64) {
        // SAFETY: SSE is part of x86-64; prefetching reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(i + AHEAD).cast()) };
    }
}

const F32: u32 = 0;
const F16: u32 = 1;
const BF16: u32 = 2;

/// The first `mask` of 16 numbers, zeros beyond.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn load<const KIND: u32>(at: *const u8, index: usize, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise that the masked elements are readable.
    unsafe {
        match KIND {
            F32 => _mm512_maskz_loadu_ps(mask, at.cast::<f32>().add(index)),
            F16 => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, at.cast::<i16>().add(index))),
            _ => {
                let wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at.cast::<i16>().add(index)));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
            }
        }
    }
}

/// `R` rows of plain numbers, `k` apart, with `M` rows of `x`. `out[i * ld + r]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn dense<const R: usize, const M: usize, const KIND: u32>(
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
                let mask = first(k.saturating_sub(at));
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
struct GroupedRows<'a> {
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
    /// Distance of the results of two rows of input.
    ld: usize,
}

impl GroupedRows<'_> {
    /// Scales of groups from `g` on, up to 16, for `R` rows of weights; adds to `total` what their biases contribute.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn scales<const R: usize, const M: usize>(&self, g: usize, total: &mut [[__m512; M]; R]) -> [__m512; R] {
        // SAFETY: the caller vouches for `R` rows of scales and biases and `M` rows of sums.
        unsafe {
            let mask = first(self.groups - g);
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

/// The lowest `n` bits.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// Codes of 2 or 4 bits. Each 32-bit lane holds consecutive codes; shifting brings the next to the lowest bits, where a
/// table lookup, which ignores the bits above, makes a number of it. `x` is in that order (`Prepared::lanes`).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn by_lanes<const R: usize, const M: usize, const BITS: u32>(a: &GroupedRows<'_>, x: *const f32, out: *mut f32) {
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
                let mask = first((n - done) * lanes_a_group);
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

/// Codes of 2, 4 or 8 bits and inputs as 16-bit integers: sums of products of bytes, exact, with the upper bytes of the
/// inputs and with the lower ones; one rounding a block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn by_integers<const R: usize, const M: usize, const BITS: u32>(
    a: &GroupedRows<'_>,
    (parts, x_scales): (*const i8, *const f32),
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
                let mask = first((n - done) * lanes_a_group);
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
                            let at = parts.add((c * blocks + block_at) * 2 * block + j * 64);
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

/// Stands for codes of eight bits that are E4M3, where their bits are a constant.
const E4M3: u32 = 9;

/// 16 codes, one a byte, as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn numbers_of<const BITS: u32>(bytes: __m128i) -> __m512 {
    let codes = _mm512_cvtepu8_epi32(bytes);
    if BITS != E4M3 {
        return _mm512_cvtepi32_ps(codes);
    }
    // As in `codes::e4m3`.
    let rest = _mm512_slli_epi32::<20>(_mm512_and_si512(codes, _mm512_set1_epi32(0x7f)));
    let magnitude = _mm512_mul_ps(_mm512_castsi512_ps(rest), _mm512_set1_ps(E4M3_SCALE));
    let sign = _mm512_slli_epi32::<24>(_mm512_and_si512(codes, _mm512_set1_epi32(0x80)));
    _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), sign))
}

/// 32 codes of any width as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn bytes_of<const BITS: u32>(at: *const u8) -> __m256i {
    // SAFETY: 4 * BITS bytes are readable, the caller's promise; the others are masked away.
    unsafe {
        if BITS == 8 || BITS == E4M3 {
            return _mm256_loadu_si256(at.cast());
        }
        let mask = ((1u64 << (4 * BITS)) - 1) as u32;
        let raw = _mm256_maskz_loadu_epi8(mask, at.cast());
        // Eight codes fill BITS bytes: those go to the start of each 64-bit lane, then each code to its byte.
        let mut spread = [0u8; 32];
        let mut shifts = [0u8; 32];
        for i in 0..32 {
            spread[i] = (i / 8 * BITS as usize + i % 8).min(31) as u8;
            shifts[i] = (i % 8 * BITS as usize) as u8;
        }
        let words = _mm256_permutexvar_epi8(_mm256_loadu_si256(spread.as_ptr().cast()), raw);
        let codes = _mm256_multishift_epi64_epi8(_mm256_loadu_si256(shifts.as_ptr().cast()), words);
        _mm256_and_si256(codes, _mm256_set1_epi8(((1u32 << BITS) - 1) as i8))
    }
}

/// Codes of 3, 5, 6 or 8 bits, 32 at a time, with `x` in its natural order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,f16c")]
unsafe fn by_bytes<const R: usize, const M: usize, const BITS: u32>(a: &GroupedRows<'_>, x: *const f32, out: *mut f32) {
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

/// Output features of a panel.
const WIDE: usize = 64;
/// Rows of input that are accumulated at a time.
const TALL: usize = 6;

/// `tile[i * n + j] = x[i] . W[from + j]` for many rows of bf16 input; the matrix is quantized or in bf16.
pub(super) fn many_bf16(w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    let Floats::Bf16(x) = p.x else { unreachable!("chosen for bf16") };
    let (m, k) = (p.m, p.k);
    assert!(x.len() == m * k && tile.len() == m * n && from + n <= w.rows);
    let grouped = w.grouped();
    let group = grouped.as_ref().map_or(k, |q| q.group);
    let groups = if grouped.is_some() { k / group } else { 1 };
    let pairs = k.div_ceil(2);
    // The panel holds pairs of bf16 in the place of an f32; scales and biases lie beside it as [group][feature].
    with_scratch(pairs * WIDE + 2 * groups * WIDE, |scratch| {
        let (panel, rest) = scratch.split_at_mut(pairs * WIDE);
        let (scales, biases) = rest.split_at_mut(groups * WIDE);
        for j in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - j);
            fill_panel(w, grouped.as_ref(), from + j, wide, panel);
            if let Some(q) = &grouped {
                transposed(wide, groups, scales, |row, out| q.scales.read(LEVEL, (from + j + row) * groups, out));
                if let Some(b) = q.biases {
                    transposed(wide, groups, biases, |row, out| {
                        b.slice((from + j + row) * groups, out.len()).read(LEVEL, out)
                    });
                }
            }
            let sums = grouped.as_ref().and_then(|q| q.biases).map(|_| &p.sums[group_index(group)]);
            for i in (0..m).step_by(TALL) {
                let a = Block {
                    x: x[i * k..].as_ptr(),
                    k,
                    group,
                    groups,
                    panel: panel.as_ptr(),
                    scales: grouped.as_ref().map_or(std::ptr::null(), |_| scales.as_ptr()),
                    biases: biases.as_ptr(),
                    sums: sums.map_or(std::ptr::null(), |s| s[i * groups..].as_ptr()),
                    wide,
                    out: tile[i * n + j..].as_mut_ptr(),
                    ld: n,
                    add: false,
                };
                // SAFETY: the processor has AVX512-BF16, which the caller's level says; the block describes memory that
                // is there.
                unsafe { multiply(&a, TALL.min(m - i)) };
            }
        }
    });
}

/// `out[g * WIDE + row]` from rows of `groups` numbers, which `read` gives from a row on.
fn transposed(rows: usize, groups: usize, out: &mut [f32], mut read: impl FnMut(usize, &mut [f32])) {
    assert!(rows <= WIDE && out.len() >= groups * WIDE);
    with_scratch(16 * groups, |some| {
        for r0 in (0..rows).step_by(16) {
            let count = 16.min(rows - r0);
            read(r0, &mut some[..count * groups]);
            // SAFETY: `count` rows of `groups`, and columns from `r0` on; the processor has AVX-512.
            unsafe { transpose(some.as_ptr().cast(), groups, count, out.as_mut_ptr().add(r0).cast()) };
        }
    });
}

/// Puts `wide` rows of the matrix, as pairs of bf16, into `panel[pair * WIDE + row]`; codes are left unscaled.
fn fill_panel(w: &Matrix<'_>, grouped: Option<&Grouped<'_>>, from: usize, wide: usize, panel: &mut [f32]) {
    let k = w.columns;
    let pairs = k.div_ceil(2);
    if wide < WIDE {
        panel.fill(0.0);
    }
    if let Some(q) = grouped.filter(|q| q.codes.bits() == 4) {
        for r0 in (0..wide).step_by(16) {
            let rows = &q.bytes[(from + r0) * k / 2..(from + wide.min(r0 + 16)) * k / 2];
            // SAFETY: whole rows of the matrix, and the panel's columns from `r0`; the processor has AVX-512.
            unsafe {
                let out = panel.as_mut_ptr().add(r0).cast();
                nibble_panel(rows.as_ptr(), k / 8, 16.min(wide - r0), q.codes, out);
            }
        }
        return;
    }
    with_scratch(16 * pairs, |rows| {
        for r0 in (0..wide).step_by(16) {
            let count = 16.min(wide - r0);
            for (r, row) in rows.chunks_exact_mut(pairs).enumerate().take(count) {
                // SAFETY: each row has room for `pairs` pairs, and sources are rows of the matrix; the processor has
                // AVX-512.
                unsafe {
                    let out = row.as_mut_ptr().cast::<u16>();
                    match (grouped, w.values) {
                        (Some(q), _) => {
                            let bytes = k * q.codes.bits() / 8;
                            bf16_codes(&q.bytes[(from + r0 + r) * bytes..][..bytes], q.codes, k, out);
                        }
                        (None, Values::Dense(Floats::Bf16(v))) => {
                            let source = &v[(from + r0 + r) * k..][..k];
                            std::ptr::copy_nonoverlapping(source.as_ptr().cast(), out, k);
                            if k % 2 == 1 {
                                *out.add(k) = 0;
                            }
                        }
                        _ => unreachable!("chosen for bf16"),
                    }
                }
            }
            // SAFETY: 16 rows of `pairs`, of which `count` are used, and the panel's columns from `r0`.
            unsafe { transpose(rows.as_ptr().cast(), pairs, count, panel.as_mut_ptr().add(r0).cast()) };
        }
    });
}

/// A row of codes as bf16 numbers. Not of 4 bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn bf16_codes(bytes: &[u8], kind: Codes, k: usize, out: *mut u16) {
    // SAFETY: `k`, a multiple of 32, codes are in `bytes`, and `out` has room for them.
    unsafe {
        for i in (0..k).step_by(32) {
            let at = bytes.as_ptr().add(i / 8 * kind.bits());
            let codes = match kind.bits() {
                2 => bytes_of::<2>(at),
                3 => bytes_of::<3>(at),
                5 => bytes_of::<5>(at),
                6 => bytes_of::<6>(at),
                _ => bytes_of::<8>(at),
            };
            // Codes of up to eight bits are exact in bf16: the upper half of their f32.
            let upper = |bytes| {
                let numbers = match kind {
                    Codes::E4m3 => numbers_of::<E4M3>(bytes),
                    _ => numbers_of::<8>(bytes),
                };
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_castps_si512(numbers)))
            };
            _mm256_storeu_si256(out.add(i).cast(), upper(_mm256_castsi256_si128(codes)));
            _mm256_storeu_si256(out.add(i + 16).cast(), upper(_mm256_extracti128_si256::<1>(codes)));
        }
    }
}

/// `out[column * WIDE + row] = rows[row * columns + column]` for up to 16 rows of 32-bit words.
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn transpose(rows: *const i32, columns: usize, count: usize, out: *mut i32) {
    // SAFETY: the caller vouches for rows and columns; what lies beyond is masked away.
    unsafe {
        for c in (0..columns).step_by(16) {
            let width = 16.min(columns - c);
            let mask = first(width);
            let mut v = [_mm512_setzero_si512(); 16];
            for r in 0..count {
                v[r] = _mm512_maskz_loadu_epi32(mask, rows.add(r * columns + c));
            }
            let t = transposed_words(v);
            let mask = first(count);
            for (i, column) in t.iter().enumerate().take(width) {
                _mm512_mask_storeu_epi32(out.add((c + i) * WIDE), mask, *column);
            }
        }
    }
}

/// 16 rows of 16 words become 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn transposed_words(mut v: [__m512i; 16]) -> [__m512i; 16] {
    // Interleave rows in pairs, fours, eights, sixteens.
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for i in 0..4 {
        v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // v[4 i + j] holds, in its four quarters q, column 4 q + j of rows 4 i .. 4 i + 4.
    for j in 0..4 {
        let a = _mm512_shuffle_i32x4::<0x88>(v[j], v[4 + j]);
        let b = _mm512_shuffle_i32x4::<0x88>(v[8 + j], v[12 + j]);
        let c2 = _mm512_shuffle_i32x4::<0xdd>(v[j], v[4 + j]);
        let d = _mm512_shuffle_i32x4::<0xdd>(v[8 + j], v[12 + j]);
        t[j] = _mm512_shuffle_i32x4::<0x88>(a, b);
        t[8 + j] = _mm512_shuffle_i32x4::<0xdd>(a, b);
        t[4 + j] = _mm512_shuffle_i32x4::<0x88>(c2, d);
        t[12 + j] = _mm512_shuffle_i32x4::<0xdd>(c2, d);
    }
    t
}

/// Like `transpose` of `bf16_codes`, for codes of 4 bits: words of eight codes change places before they are unpacked.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn nibble_panel(rows: *const u8, words: usize, count: usize, codes: Codes, out: *mut i32) {
    // SAFETY: the caller vouches for `count` rows of `words` words and for the panel's columns; the rest is masked away.
    unsafe {
        let table = nibble_table(codes);
        let stored = first(count);
        for c in (0..words).step_by(16) {
            let width = 16.min(words - c);
            let mask = first(width);
            let mut v = [_mm512_setzero_si512(); 16];
            for r in 0..count {
                let at = rows.add((r * words + c) * 4);
                v[r] = _mm512_maskz_loadu_epi32(mask, at.cast());
                // The rows behind these, which come next: experts with few rows of input wait for memory.
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(16 * words * 4).cast());
            }
            for (i, word) in transposed_words(v).into_iter().enumerate().take(width) {
                let mut word = word;
                for pair in 0..4 {
                    let at = out.add(((c + i) * 4 + pair) * WIDE);
                    let numbers = nibble_pair(word, table);
                    if count == 16 {
                        _mm512_storeu_epi32(at, numbers);
                    } else {
                        _mm512_mask_storeu_epi32(at, stored, numbers);
                    }
                    word = _mm512_srli_epi32::<8>(word);
                }
            }
        }
    }
}

/// What codes of 4 bits stand for, in bf16. Twice: the lookup takes five bits, the fifth being of the next code.
#[inline]
#[target_feature(enable = "avx512f")]
fn nibble_table(codes: Codes) -> __m512i {
    let table = codes.table().map(|v| Bf16::from_f32(v).to_bits());
    // SAFETY: 16 numbers of 16 bits.
    let half = unsafe { _mm256_loadu_si256(table.as_ptr().cast()) };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half), half)
}

/// The two codes in the lowest byte of each lane as two numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibble_pair(bytes: __m512i, table: __m512i) -> __m512i {
    let upper = _mm512_set1_epi32(0xffff_0000u32 as i32);
    // Bits 0-3 and 16-19 of each lane become the two codes (0xCA: the first operand selects).
    let index = _mm512_ternarylogic_epi32::<0xCA>(upper, _mm512_slli_epi32::<12>(bytes), bytes);
    _mm512_permutexvar_epi16(index, table)
}

/// Up to [`TALL`] rows of input and a panel.
struct Block {
    x: *const Bf16,
    k: usize,
    group: usize,
    groups: usize,
    panel: *const f32,
    /// `[groups][WIDE]`; null for a plain matrix.
    scales: *const f32,
    biases: *const f32,
    /// `[rows][groups]`; null where there are no biases.
    sums: *const f32,
    wide: usize,
    out: *mut f32,
    ld: usize,
    /// Adds to what is in `out`.
    add: bool,
}

/// # Safety
/// As for [`micro`].
unsafe fn multiply(a: &Block, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => micro::<1>(a),
            2 => micro::<2>(a),
            3 => micro::<3>(a),
            4 => micro::<4>(a),
            5 => micro::<5>(a),
            _ => micro::<6>(a),
        }
    }
}

/// `out[i * n + s] = x[i] . rows[s]` for rows of bf16, `k` long each.
pub(super) fn scores(x: &[Bf16], k: usize, rows: &[Bf16], out: &mut [f32]) {
    let (m, n) = (x.len() / k, rows.len() / k);
    let w = Matrix { rows: n, columns: k, values: Values::Dense(Floats::Bf16(rows)) };
    let p = Prepared {
        m,
        k,
        x: Floats::Bf16(x),
        natural: Vec::new(),
        lanes: Default::default(),
        bytes: Default::default(),
        sums: Default::default(),
    };
    many_bf16(&w, 0, n, &p, &mut out[..m * n]);
}

/// `out[i * n + d] += sum over s of weights[i * k + s] * values[s * stride + d]`
pub(super) fn weigh_many(weights: &[Bf16], k: usize, values: &[Bf16], stride: usize, n: usize, out: &mut [f32]) {
    let m = weights.len() / k;
    assert!(weights.len() == m * k && out.len() >= m * n && values.len() >= (k - 1) * stride + n);
    let pairs = k.div_ceil(2);
    with_scratch(pairs * WIDE, |panel| {
        for j in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - j);
            // Two values, one behind the other, become pairs.
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
                // SAFETY: as in `many_bf16`.
                unsafe { multiply(&a, TALL.min(m - i)) };
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn micro<const M: usize>(a: &Block) {
    // SAFETY: the caller vouches for `M` rows of `x`, `sums` and `out` and for the panel.
    unsafe {
        let mut total = [[_mm512_setzero_ps(); 4]; M];
        for g in 0..a.groups {
            let mut acc = [[_mm512_setzero_ps(); 4]; M];
            let from = g * a.group;
            let mut panel = a.panel.add(from / 2 * WIDE);
            let mut x = a.x.add(from);
            for _ in 0..a.group / 2 {
                step(&mut acc, x, a.k, panel);
                panel = panel.add(WIDE);
                x = x.add(2);
            }
            if a.group % 2 == 1 {
                // The last column of a plain matrix has no partner: its pair's other half is zero in the panel, and
                // must not be read from `x`.
                let last: [[Bf16; 2]; M] = std::array::from_fn(|i| [*x.add(i * a.k), Bf16::ZERO]);
                step(&mut acc, last.as_ptr().cast(), 2, panel);
            }
            if a.scales.is_null() {
                total = acc;
                continue;
            }
            for v in 0..4 {
                let scale = _mm512_loadu_ps(a.scales.add(g * WIDE + v * 16));
                for i in 0..M {
                    total[i][v] = _mm512_fmadd_ps(acc[i][v], scale, total[i][v]);
                }
            }
            if !a.sums.is_null() {
                for v in 0..4 {
                    let bias = _mm512_loadu_ps(a.biases.add(g * WIDE + v * 16));
                    for i in 0..M {
                        let sum = _mm512_set1_ps(*a.sums.add(i * a.groups + g));
                        total[i][v] = _mm512_fmadd_ps(bias, sum, total[i][v]);
                    }
                }
            }
        }
        for i in 0..M {
            for v in 0..4 {
                let mask = first(a.wide.saturating_sub(v * 16));
                let out = a.out.wrapping_add(i * a.ld + v * 16);
                if a.add {
                    total[i][v] = _mm512_add_ps(total[i][v], _mm512_maskz_loadu_ps(mask, out));
                }
                _mm512_mask_storeu_ps(out, mask, total[i][v]);
            }
        }
    }
}

/// One pair of columns: `acc[i] += x[i] . panel`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn step<const M: usize>(acc: &mut [[__m512; 4]; M], x: *const Bf16, stride: usize, panel: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut w = [_mm512_setzero_ps(); 4];
        for v in 0..4 {
            w[v] = _mm512_loadu_ps(panel.add(v * 16));
        }
        for i in 0..M {
            let pair = _mm512_set1_epi32(x.add(i * stride).cast::<i32>().read_unaligned());
            for v in 0..4 {
                let w = std::mem::transmute::<__m512, __m512bh>(w[v]);
                acc[i][v] = _mm512_dpbf16_ps(acc[i][v], std::mem::transmute::<__m512i, __m512bh>(pair), w);
            }
        }
    }
}

/// `scores[g * n + s] = queries[g] . keys[s]` with keys `stride` apart; `n = scores.len() / (queries.len() / dim)`.
pub(super) fn dots(queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
    let group = queries.len() / dim;
    let n = scores.len() / group;
    assert!(queries.len() == group * dim && scores.len() == group * n);
    assert!(n == 0 || keys.len() >= (n - 1) * stride + dim, "keys");
    for g in (0..group).step_by(2) {
        let (q, out) = (queries[g * dim..].as_ptr(), scores[g * n..].as_mut_ptr());
        // SAFETY: the caller's level says that the processor has AVX-512; sizes were checked.
        unsafe {
            match (keys, group - g) {
                (Floats::F32(k), 1) => dots_of::<1, F32>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(k), 1) => dots_of::<1, F16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(k), 1) => dots_of::<1, BF16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F32(k), _) => dots_of::<2, F32>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::F16(k), _) => dots_of::<2, F16>(q, k.as_ptr().cast(), stride, dim, n, out),
                (Floats::Bf16(k), _) => dots_of::<2, BF16>(q, k.as_ptr().cast(), stride, dim, n, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn dots_of<const G: usize, const KIND: u32>(
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
                let mask = first(dim - d);
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
pub(super) fn weigh(weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
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
            let mask: [u16; WIDTH] = std::array::from_fn(|v| first(dim.saturating_sub(d + v * 16)));
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
