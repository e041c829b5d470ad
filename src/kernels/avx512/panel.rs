//! Weights in the order in which gemm reads them: pairs of bf16, as `vdpbf16ps` takes them, with their scales beside
//! them.

use std::arch::x86_64::*;

use super::codes::{E4M3, bytes_of, numbers_of};
use super::vector::first_lanes;
use crate::codes::Codes;
use crate::floats::{Bf16, Floats};
use crate::matrix::{Grouped, Matrix, Values};
use crate::scratch::with_scratch;

/// Output features of a panel.
pub const WIDE: usize = 64;

/// `out[g * WIDE + row]` from rows of `groups` numbers, which `read` gives from a row on.
pub fn transposed(rows: usize, groups: usize, out: &mut [f32], mut read: impl FnMut(usize, &mut [f32])) {
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
pub fn fill_panel(w: &Matrix<'_>, grouped: Option<&Grouped<'_>>, from: usize, wide: usize, panel: &mut [f32]) {
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
            let mask = first_lanes(width);
            let mut v = [_mm512_setzero_si512(); 16];
            for r in 0..count {
                v[r] = _mm512_maskz_loadu_epi32(mask, rows.add(r * columns + c));
            }
            let t = transposed_words(v);
            let mask = first_lanes(count);
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
        let stored = first_lanes(count);
        for c in (0..words).step_by(16) {
            let width = 16.min(words - c);
            let mask = first_lanes(width);
            let mut v = [_mm512_setzero_si512(); 16];
            for r in 0..count {
                let at = rows.add((r * words + c) * 4);
                v[r] = _mm512_maskz_loadu_epi32(mask, at.cast());
                // The rows after these come next: experts with few rows of input wait for memory.
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
