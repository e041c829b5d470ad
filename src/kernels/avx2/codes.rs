//! Codes in registers.

use std::arch::x86_64::*;

use crate::codes::{E2M1_VALUES, E4M3_SCALE};

/// Codes that are floating-point numbers, as a constant whose last digit is their width.
pub const E2M1: usize = 14;
pub const E4M3: usize = 18;

/// Eight codes, in as many bytes as they are wide, as numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn numbers<const KIND: usize>(at: *const u8) -> __m256 {
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
            E2M1 => {
                // The lookup takes three bits; the fourth is the sign.
                let magnitude = _mm256_permutevar8x32_ps(_mm256_loadu_ps(E2M1_VALUES.as_ptr()), codes);
                let sign = _mm256_and_si256(_mm256_slli_epi32::<28>(codes), _mm256_set1_epi32(i32::MIN));
                _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign))
            }
            E4M3 => {
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
