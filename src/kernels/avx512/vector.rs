//! Numbers in registers: loads, masks and prefetches.

use std::arch::x86_64::*;

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const BF16: u32 = 2;

/// The first `mask` of 16 numbers, zeros beyond.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub unsafe fn load<const KIND: u32>(at: *const u8, index: usize, mask: __mmask16) -> __m512 {
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

/// A mask of the first `n` lanes.
#[inline(always)]
pub fn first_lanes(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// How far ahead of their use weights are fetched, in bytes.
pub const AHEAD: usize = 16384;

/// Fetches the `count` bytes that come [`AHEAD`] after `at` into the second-level cache: when decoding, weights come
/// straight from memory, and the first level has too few outstanding misses to wait for it. Kernels that read several
/// rows at a time fetch them one after the other all the same, because memory gives most when it is read in order.
#[inline(always)]
pub fn fetch(at: *const u8, count: usize) {
    for i in (0..count).step_by(64) {
        // SAFETY: SSE is part of x86-64; prefetching reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(i + AHEAD).cast()) };
    }
}
