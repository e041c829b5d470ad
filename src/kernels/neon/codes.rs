//! Codes in registers.
//!
//! Kernels read them as signed bytes: integers of eight bits less 128, for which biases make up, and E2M1 doubled. E4M3
//! does not fit and is only made into f32.

use std::arch::aarch64::*;

use crate::Level;
use crate::codes::Codes;
use crate::matrix::Grouped;

/// Codes as a constant: the width of integers, or one of the following, whose last digit is their width.
pub const E2M1: u32 = 14;
pub const E4M3: u32 = 18;

/// Bits of one code.
pub const fn bits(kind: u32) -> usize {
    kind as usize % 10
}

/// What results are to be multiplied with.
pub fn factor(codes: Codes) -> f32 {
    match codes {
        Codes::Integer(_) => 1.0,
        Codes::E2m1 => 0.5,
        // See `e4m3`.
        Codes::E4m3 => 256.0,
    }
}

/// What to add to biases, in scales.
fn offset(codes: Codes) -> f32 {
    if codes == Codes::Integer(8) { 128.0 } else { 0.0 }
}

/// Scales and, if there are any, biases for the codes as kernels read them.
pub fn read_scales(level: Level, q: &Grouped<'_>, from: usize, len: usize, scales: &mut [f32], biases: &mut [f32]) {
    q.scales.read(level, from, &mut scales[..len]);
    if let Some(b) = q.biases {
        b.slice(from, len).read(level, &mut biases[..len]);
        let offset = offset(q.codes);
        for (bias, scale) in biases.iter_mut().zip(&*scales).take(len) {
            *bias = scale.mul_add(offset, *bias);
        }
    }
}

/// E2M1, doubled.
const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[inline(always)]
fn doubled(codes: uint8x16_t) -> int8x16_t {
    // SAFETY: 16 bytes.
    unsafe { vqtbl1q_s8(vld1q_s8(DOUBLED.as_ptr()), codes) }
}

/// The codes in the lowest bits of each byte.
#[inline(always)]
pub fn lowest<const KIND: u32>(bytes: uint8x16_t) -> int8x16_t {
    // SAFETY: NEON.
    unsafe {
        let codes = vandq_u8(bytes, vdupq_n_u8((1 << bits(KIND)) - 1));
        if KIND == E2M1 { doubled(codes) } else { vreinterpretq_s8_u8(codes) }
    }
}

/// The next codes of each byte become the lowest.
#[inline(always)]
pub fn next<const KIND: u32>(bytes: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON.
    unsafe { if bits(KIND) == 4 { vshrq_n_u8::<4>(bytes) } else { vshrq_n_u8::<2>(bytes) } }
}

/// 16 codes in their order. Not of E4M3.
///
/// # Safety
/// `2 * bits(KIND)` bytes are readable.
#[inline(always)]
pub unsafe fn sixteen<const KIND: u32>(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise; tables have 16 bytes.
    unsafe {
        match bits(KIND) {
            8 => vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at), vdupq_n_u8(128))),
            4 => {
                let bytes = vld1_u8(at);
                let (low, high) = (vand_u8(bytes, vdup_n_u8(15)), vshr_n_u8::<4>(bytes));
                let codes = vzip1q_u8(vcombine_u8(low, low), vcombine_u8(high, high));
                if KIND == E2M1 { doubled(codes) } else { vreinterpretq_s8_u8(codes) }
            }
            2 => {
                const SHIFTS: [i8; 16] = [0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6];
                const SPREAD: [u8; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
                let word = vreinterpretq_u8_u32(vdupq_n_u32(at.cast::<u32>().read_unaligned()));
                let bytes = vqtbl1q_u8(word, vld1q_u8(SPREAD.as_ptr()));
                lowest::<KIND>(vshlq_u8(bytes, vld1q_s8(SHIFTS.as_ptr())))
            }
            width => {
                let bytes = exactly(at, width);
                // Each code with the byte after it, in 16 bits.
                let pair = |first: usize| {
                    let spread: [u8; 16] = std::array::from_fn(|i| ((first + i / 2) * width / 8 + i % 2) as u8);
                    let shifts: [i16; 8] = std::array::from_fn(|i| -(((first + i) * width % 8) as i16));
                    let words = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, vld1q_u8(spread.as_ptr())));
                    vreinterpretq_u8_u16(vshlq_u16(words, vld1q_s16(shifts.as_ptr())))
                };
                lowest::<KIND>(vuzp1q_u8(pair(0), pair(8)))
            }
        }
    }
}

/// 6, 10 or 12 bytes: 16 codes of 3, 5 or 6 bits.
#[inline(always)]
unsafe fn exactly(at: *const u8, width: usize) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = vdupq_n_u8(0);
        let word = |i: usize| at.add(i).cast::<u32>().read_unaligned();
        let short = |i: usize| at.add(i).cast::<u16>().read_unaligned();
        let long = at.cast::<u64>();
        match width {
            3 => {
                let first = vsetq_lane_u32::<0>(word(0), vreinterpretq_u32_u8(zero));
                vreinterpretq_u8_u16(vsetq_lane_u16::<2>(short(4), vreinterpretq_u16_u32(first)))
            }
            5 => {
                let first = vsetq_lane_u64::<0>(long.read_unaligned(), vreinterpretq_u64_u8(zero));
                vreinterpretq_u8_u16(vsetq_lane_u16::<4>(short(8), vreinterpretq_u16_u64(first)))
            }
            _ => {
                let first = vsetq_lane_u64::<0>(long.read_unaligned(), vreinterpretq_u64_u8(zero));
                vreinterpretq_u8_u32(vsetq_lane_u32::<2>(word(8), vreinterpretq_u32_u64(first)))
            }
        }
    }
}

/// 16 codes in their order as numbers.
///
/// # Safety
/// As for [`sixteen`].
#[inline(always)]
pub unsafe fn numbers<const KIND: u32>(at: *const u8) -> [float32x4_t; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        if KIND == E4M3 {
            return e4m3(vld1q_s8(at.cast()));
        }
        let codes = sixteen::<KIND>(at);
        let (low, high) = (vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes));
        [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_high_s16(low)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_high_s16(high)),
        ]
    }
}

/// Sign, exponent and mantissa move to their place in an f16, subnormals included, whose exponent's bias is larger by 8.
#[inline(always)]
fn e4m3(codes: int8x16_t) -> [float32x4_t; 4] {
    // SAFETY: NEON.
    unsafe {
        // The sign comes to the bit above the exponent as well.
        let others = vdupq_n_s16(!0x4000);
        let low = vandq_s16(vshll_n_s8::<7>(vget_low_s8(codes)), others);
        let high = vandq_s16(vshll_high_n_s8::<7>(codes), others);
        let (low, high) = (vreinterpretq_f16_s16(low), vreinterpretq_f16_s16(high));
        [
            vcvt_f32_f16(vget_low_f16(low)),
            vcvt_high_f32_f16(low),
            vcvt_f32_f16(vget_low_f16(high)),
            vcvt_high_f32_f16(high),
        ]
    }
}
