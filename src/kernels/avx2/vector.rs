//! Numbers in registers: loads, masks and sums over lanes.

use std::arch::x86_64::*;

use crate::floats::{Bf16, F16};

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const BF16: u32 = 2;

pub const fn size(kind: u32) -> usize {
    if kind == F32 { 4 } else { 2 }
}

/// Eight numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn load<const KIND: u32>(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise that they are readable.
    unsafe {
        match KIND {
            F32 => _mm256_loadu_ps(at.cast()),
            F16 => _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
            _ => {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
    }
}

/// One number.
#[inline]
pub unsafe fn load_one<const KIND: u32>(at: *const u8) -> f32 {
    // SAFETY: the caller's promise that it is readable.
    unsafe {
        match KIND {
            F32 => *at.cast::<f32>(),
            F16 => (*at.cast::<F16>()).to_f32(),
            _ => (*at.cast::<Bf16>()).to_f32(),
        }
    }
}

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn reduce(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// A mask of the first `n` lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn first_lanes(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}
