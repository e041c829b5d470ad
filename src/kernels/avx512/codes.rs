//! Codes in registers.

use std::arch::x86_64::*;

use crate::codes::E4M3_SCALE;

/// Codes of eight bits that are E4M3, as a constant in the place of their width.
pub const E4M3: u32 = 9;

/// 16 codes, one a byte, as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub fn numbers_of<const BITS: u32>(bytes: __m128i) -> __m512 {
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
pub unsafe fn bytes_of<const BITS: u32>(at: *const u8) -> __m256i {
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
