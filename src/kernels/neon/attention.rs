//! Scores, and weighted sums of values, of many queries in bf16.

use std::arch::aarch64::*;

use super::gemm::{Weights, multiply};
use super::panel::{SIDE, blocks, pack};
use crate::floats::Bf16;
use crate::scratch::with_scratch;

/// `out[i * n + s] = x[i] . rows[s]` for rows of bf16, `k` long each.
pub fn score_bf16(x: &[Bf16], k: usize, rows: &[Bf16], out: &mut [f32]) {
    let n = rows.len() / k;
    let depth = k.next_multiple_of(4);
    with_scratch(n.next_multiple_of(SIDE) * depth / 2, |panel| {
        pack(rows, k, panel);
        let a = Weights { panel, depth, groups: 1, scales: None, biases: None, wide: n };
        multiply(&a, x, k, None, out, n, false);
    });
}

/// `out[i * n + d] += sum over s of weights[i * k + s] * values[s * stride + d]`
pub fn weigh_bf16(weights: &[Bf16], k: usize, values: &[Bf16], stride: usize, n: usize, out: &mut [f32]) {
    assert!(values.len() >= (k - 1) * stride + n);
    let depth = k.next_multiple_of(4);
    with_scratch(n.next_multiple_of(SIDE) * depth / 2, |panel| {
        for (block, to) in blocks(panel, depth).enumerate().take(n.div_ceil(SIDE)) {
            let d = block * SIDE;
            let wide = SIDE.min(n - d);
            for (s, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                // Four values of eight features each become eight features of four values each.
                let rows: [[u16; SIDE]; 4] = std::array::from_fn(|i| {
                    let mut row = [0; SIDE];
                    if 4 * s + i < k {
                        let from = &values[(4 * s + i) * stride + d..][..wide];
                        row.iter_mut().zip(from).for_each(|(to, v)| *to = v.to_bits());
                    }
                    row
                });
                // SAFETY: eight numbers are read of each row, and 32 written.
                unsafe {
                    let r = rows.each_ref().map(|row| vld1q_u16(row.as_ptr()));
                    vst4q_u16(to.as_mut_ptr(), uint16x8x4_t(r[0], r[1], r[2], r[3]));
                }
            }
        }
        let a = Weights { panel, depth, groups: 1, scales: None, biases: None, wide: n };
        multiply(&a, weights, k, None, out, n, true);
    });
}
