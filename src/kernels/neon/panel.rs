//! Weights and inputs in the order in which gemm reads them.
//!
//! Eight rows, codes being exact in bf16, are put in the order `[columns / 4][8][4]`, in which `bfmmla` reads two rows
//! at a time.

use std::arch::aarch64::*;

use super::codes::{E2M1, E4M3, bits, numbers};
use crate::codes::Codes;
use crate::floats::Bf16;
use crate::matrix::Grouped;

/// Rows of input, and of weights, that are accumulated at a time.
pub const SIDE: usize = 8;

/// Blocks of eight rows as numbers of 16 bits.
pub fn blocks(panel: &mut [f32], depth: usize) -> impl Iterator<Item = &mut [u16]> {
    panel.chunks_exact_mut(SIDE * depth / 2).map(|block| {
        // SAFETY: an f32 is two numbers of 16 bits.
        unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast(), 2 * block.len()) }
    })
}

/// Rows of `k` numbers; missing ones and columns are zero.
pub fn pack(rows: &[Bf16], k: usize, panel: &mut [f32]) {
    for (rows, to) in rows.chunks(SIDE * k).zip(blocks(panel, k.next_multiple_of(4))) {
        if rows.len() < SIDE * k || !k.is_multiple_of(4) {
            to.fill(0);
        }
        for (r, row) in rows.chunks_exact(k).enumerate() {
            for (four, to) in row.chunks(4).zip(to.as_chunks_mut::<32>().0) {
                for (v, to) in four.iter().zip(&mut to[4 * r..]) {
                    *to = v.to_bits();
                }
            }
        }
    }
}

/// Rows of codes, not scaled.
pub fn pack_codes(q: &Grouped<'_>, k: usize, from: usize, wide: usize, panel: &mut [f32]) {
    let row_bytes = k * q.codes.bits() / 8;
    let rows = &q.bytes[from * row_bytes..(from + wide) * row_bytes];
    for (rows, to) in rows.chunks(SIDE * row_bytes).zip(blocks(panel, k)) {
        if rows.len() < SIDE * row_bytes {
            to.fill(0);
        }
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let to = &mut to[4 * r..];
            match q.codes {
                Codes::Integer(2) => pack_row::<2>(row, to),
                Codes::Integer(3) => pack_row::<3>(row, to),
                Codes::Integer(4) => pack_row::<4>(row, to),
                Codes::Integer(5) => pack_row::<5>(row, to),
                Codes::Integer(6) => pack_row::<6>(row, to),
                Codes::Integer(_) => pack_row::<8>(row, to),
                Codes::E2m1 => pack_row::<E2M1>(row, to),
                Codes::E4m3 => pack_row::<E4M3>(row, to),
            }
        }
    }
}

/// Four codes every 32 numbers.
fn pack_row<const KIND: u32>(row: &[u8], to: &mut [u16]) {
    for (codes, to) in row.chunks_exact(2 * bits(KIND)).zip(to.chunks_mut(4 * 32)) {
        let to = &mut to[..3 * 32 + 4];
        // SAFETY: 16 codes are read; four numbers are written at each of four places.
        unsafe {
            // Their upper halves are the numbers in bf16.
            for (i, four) in numbers::<KIND>(codes.as_ptr()).into_iter().enumerate() {
                vst1_u16(to[i * 32..].as_mut_ptr(), vshrn_n_u32::<16>(vreinterpretq_u32_f32(four)));
            }
        }
    }
}

/// `[rows][groups]` becomes `[rows / 2][groups][2]`.
pub fn in_pairs(from: &[f32], groups: usize, to: &mut [f32]) {
    for (r, row) in from.chunks_exact(groups).enumerate() {
        for (g, v) in row.iter().enumerate() {
            to[(r / 2 * groups + g) * 2 + r % 2] = *v;
        }
    }
}
