//! Products of a few rows of input in AVX2, by hand: plain weights, codes of 2, 4 and 8 bits with inputs as 16-bit
//! integers, and codes that are made into f32 eight at a time.

use std::arch::x86_64::*;

use super::Level;
use super::codes::{Codes, E2M1, E4M3_SCALE};
use super::floats::{Bf16, F16, Floats};
use super::product::{Grouped, Matrix, Values};
use super::tile::{Prepared, group_index, in_bytes, lane_block, packing, pieces, with_scratch};

/// Calls `$f::<R, M, ..>` with `$r` rows of weights and `$m` rows of input as constants.
macro_rules! for_sizes {
    ($f:ident, $r:expr, $m:expr, [$($more:expr),*], $args:tt) => {
        match ($r, $m) {
            (2, 1) => $f::<2, 1, $({ $more }),*> $args,
            (2, 2) => $f::<2, 2, $({ $more }),*> $args,
            (1, 1) => $f::<1, 1, $({ $more }),*> $args,
            (1, 2) => $f::<1, 2, $({ $more }),*> $args,
            (1, 3) => $f::<1, 3, $({ $more }),*> $args,
            (1, 4) => $f::<1, 4, $({ $more }),*> $args,
            _ => unreachable!("up to 2 rows"),
        }
    };
}

/// `tile[i * n + j] = x[i] . W[from + j]` for up to [`FEW`](super::tile::FEW) rows of input.
pub(super) fn few(w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    assert!(tile.len() == p.m * n && from + n <= w.rows);
    match (w.grouped(), w.values) {
        (Some(q), _) => quantized(&q, from, n, p, tile),
        (None, Values::Dense(Floats::F32(v))) => plain::<F32>(v.as_ptr().cast(), from, n, p, tile),
        (None, Values::Dense(Floats::F16(v))) => plain::<HALF>(v.as_ptr().cast(), from, n, p, tile),
        (None, Values::Dense(Floats::Bf16(v))) => plain::<BF16>(v.as_ptr().cast(), from, n, p, tile),
        (None, _) => unreachable!("codes come in groups"),
    }
}

/// Rows of weights at a time with `m` rows of input.
fn most(m: usize) -> usize {
    if m <= 2 { 2 } else { 1 }
}

const F32: u32 = 0;
const HALF: u32 = 1;
const BF16: u32 = 2;

const fn size(kind: u32) -> usize {
    if kind == F32 { 4 } else { 2 }
}

/// `w` is a matrix of `p.k` columns, of which there are rows up to `from + n`.
fn plain<const KIND: u32>(w: *const u8, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    let row_bytes = p.k * size(KIND);
    pieces(n, row_bytes, p.m, most, |j, rows, i, m| {
        let (x, out) = (p.natural[i * p.k..].as_ptr(), tile[i * n + j..].as_mut_ptr());
        // SAFETY: the processor has AVX2, FMA and F16C, which the caller's level says; `rows` rows of weights, `m` rows of
        // `x` and their results are within bounds.
        unsafe { for_sizes!(dots, rows, m, [KIND], (w.add((from + j) * row_bytes), p.k, x, out, n)) }
    });
}

/// Eight numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const KIND: u32>(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise that they are readable.
    unsafe {
        match KIND {
            F32 => _mm256_loadu_ps(at.cast()),
            HALF => _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
            _ => {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
    }
}

/// One number.
#[inline]
unsafe fn load_one<const KIND: u32>(at: *const u8) -> f32 {
    // SAFETY: the caller's promise that it is readable.
    unsafe {
        match KIND {
            F32 => *at.cast::<f32>(),
            HALF => (*at.cast::<F16>()).to_f32(),
            _ => (*at.cast::<Bf16>()).to_f32(),
        }
    }
}

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn reduce(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// `R` rows of plain numbers, `k` apart, with `M` rows of `x`. `out[i * ld + r]`.
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

fn quantized(q: &Grouped<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    let groups = p.k / q.group;
    let row_bytes = p.k * q.codes.bits() / 8;
    let integers = if in_bytes(q.codes, p.x.kind()) { p.bytes[packing(q.codes)].as_ref() } else { None };
    with_scratch(2 * n * groups, |scratch| {
        let (scales, biases) = scratch.split_at_mut(n * groups);
        q.scales.read(Level::Avx2, from * groups, scales);
        if let Some(b) = q.biases {
            b.slice(from * groups, n * groups).read(Level::Avx2, biases);
        }
        let sums = integers.map_or(&p.sums, |x| &x.sums);
        let sums = q.biases.map(|_| &sums[group_index(q.group)]);
        pieces(n, row_bytes, p.m, most, |j, rows, i, m| {
            let a = Rows {
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
            let natural = p.natural[i * p.k..].as_ptr();
            // SAFETY: as in `plain`; codes, scales and biases have `rows` rows from here on, inputs and sums `m`.
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
                    (Codes::E2m1, _) => for_sizes!(by_floats, rows, m, [FP4], (&a, natural)),
                    (Codes::E4m3, _) => for_sizes!(by_floats, rows, m, [FP8], (&a, natural)),
                }
            }
        });
    });
}

/// Consecutive rows of a quantized matrix, and where results go.
struct Rows {
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
    /// Distance of the results of two rows of input.
    ld: usize,
}

impl Rows {
    /// Products of biases and sums, not yet added up.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn start<const R: usize, const M: usize>(&self) -> [[__m256; M]; R] {
        let mut total = [[_mm256_setzero_ps(); M]; R];
        if self.sums.is_null() {
            return total;
        }
        for g in (0..self.groups).step_by(8) {
            let mask = first(self.groups - g);
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

/// Lanes before the `n`-th are read.
#[inline]
#[target_feature(enable = "avx2")]
fn first(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Sums of products of codes and bytes, exact, with the upper bytes of the inputs and with the lower ones; one rounding
/// for each scale.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_integers<const R: usize, const M: usize, const BITS: usize>(
    a: &Rows,
    (parts, x_scales): (*const i8, *const f32),
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
            let groups = _mm256_castsi256_si128(first(groups_a_register.min(a.groups - g)));
            for r in 0..R {
                let codes = a.codes.add(r * a.row_bytes + at * BITS / 8);
                let codes = if bytes >= 32 {
                    _mm256_loadu_si256(codes.cast())
                } else {
                    _mm256_maskload_epi32(codes.cast(), first(bytes / 4))
                };
                let scales = _mm256_castps128_ps256(_mm_maskload_ps(a.scales.add(r * a.groups + g), groups));
                let scales = _mm256_permutevar8x32_ps(scales, group_of_lane);
                for c in 0..M {
                    let x = parts.add(c * blocks * 2 * block + x_at);
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

/// Codes that are floating-point numbers, as a constant whose last digit is their width.
const FP4: usize = 14;
const FP8: usize = 18;

/// Eight codes, in as many bytes as they are wide, as numbers; fp8 without its scale.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn numbers<const KIND: usize>(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise that they are readable.
    unsafe {
        let bits = KIND % 10;
        let short = |i: usize| u64::from(at.add(i).cast::<u16>().read_unaligned());
        let word = |i: usize| at.add(i).cast::<u32>().read_unaligned();
        let codes = match bits {
            8 => _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())),
            2 | 4 => {
                let all = if bits == 4 { word(0) } else { short(0) as u32 };
                let b = bits as i32;
                let places = _mm256_setr_epi32(0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b);
                _mm256_srlv_epi32(_mm256_set1_epi32(all as i32), places)
            }
            _ => {
                let all = match bits {
                    3 => short(0) | u64::from(*at.add(2)) << 16,
                    5 => u64::from(word(0)) | u64::from(*at.add(4)) << 32,
                    _ => u64::from(word(0)) | short(4) << 32,
                };
                let all = _mm256_set1_epi64x(all as i64);
                let b = bits as i64;
                // Lower halves of 64 bits, in the order that the shuffle makes natural.
                let even = _mm256_srlv_epi64(all, _mm256_setr_epi64x(0, b, 4 * b, 5 * b));
                let odd = _mm256_srlv_epi64(all, _mm256_setr_epi64x(2 * b, 3 * b, 6 * b, 7 * b));
                let (even, odd) = (_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd));
                _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(even, odd))
            }
        };
        match KIND {
            FP4 => {
                // The lookup takes three bits; the fourth is the sign.
                let magnitude = _mm256_permutevar8x32_ps(_mm256_loadu_ps(E2M1.as_ptr()), codes);
                let sign = _mm256_and_si256(_mm256_slli_epi32::<28>(codes), _mm256_set1_epi32(i32::MIN));
                _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign))
            }
            FP8 => {
                // As in `codes::e4m3`.
                let rest = _mm256_slli_epi32::<20>(_mm256_and_si256(codes, _mm256_set1_epi32(0x7f)));
                let magnitude = _mm256_mul_ps(_mm256_castsi256_ps(rest), _mm256_set1_ps(E4M3_SCALE));
                let sign = _mm256_slli_epi32::<24>(_mm256_and_si256(codes, _mm256_set1_epi32(0x80)));
                _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign))
            }
            8 => _mm256_cvtepi32_ps(codes),
            _ => _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32((1 << bits) - 1))),
        }
    }
}

/// Any codes, with `x` in f32.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_floats<const R: usize, const M: usize, const KIND: usize>(a: &Rows, x: *const f32) {
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
