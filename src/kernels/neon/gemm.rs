//! gemm: many rows of input in bf16, by products of 2 x 4 with 4 x 2 numbers (FEAT_BF16); 8 x 8 sums are accumulated in
//! registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::codes::{factor, read_scales};
use super::panel::{SIDE, in_pairs, pack, pack_codes};
use crate::Level;
use crate::floats::{Bf16, Floats};
use crate::input::{Input, group_index};
use crate::matrix::{Matrix, Values};
use crate::scratch::with_scratch;

/// Output features of a panel.
const WIDE: usize = 64;

/// `tile[i * n + j] = x[i] . W[from + j]`; the matrix is quantized or in bf16.
pub fn gemm(w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let Floats::Bf16(x) = input.x else { unreachable!("chosen for bf16") };
    let (m, k) = (input.m, input.k);
    assert!(x.len() == m * k && tile.len() == m * n && from + n <= w.rows);
    let grouped = w.grouped();
    let depth = k.next_multiple_of(4);
    let group = grouped.as_ref().map_or(depth, |q| q.group);
    let groups = depth / group;
    with_scratch(WIDE * depth / 2 + 4 * WIDE * groups, |scratch| {
        let (panel, rest) = scratch.split_at_mut(WIDE * depth / 2);
        let (scales, rest) = rest.split_at_mut(WIDE * groups);
        let (biases, rest) = rest.split_at_mut(WIDE * groups);
        let (packed_scales, packed_biases) = rest.split_at_mut(WIDE * groups);
        for j in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - j);
            match (&grouped, w.values) {
                (Some(q), _) => {
                    pack_codes(q, k, from + j, wide, panel);
                    read_scales(Level::NeonBf16, q, (from + j) * groups, wide * groups, scales, biases);
                    in_pairs(&scales[..wide * groups], groups, packed_scales);
                    in_pairs(&biases[..wide * groups], groups, packed_biases);
                }
                (None, Values::Dense(Floats::Bf16(v))) => pack(&v[(from + j) * k..(from + j + wide) * k], k, panel),
                _ => unreachable!("chosen for bf16"),
            }
            let sums = grouped.as_ref().and_then(|q| q.biases).map(|_| &input.sums[group_index(group)]);
            let a = Weights {
                panel,
                depth,
                groups,
                scales: grouped.as_ref().map(|q| (&*packed_scales, factor(q.codes))),
                biases: sums.map(|_| &*packed_biases),
                wide,
            };
            multiply(&a, x, k, sums, &mut tile[j..], n, false);
        }
    });
}

/// Packed rows of weights.
pub struct Weights<'a> {
    /// Blocks of eight rows, of `depth` columns.
    pub panel: &'a [f32],
    /// A multiple of 4.
    pub depth: usize,
    /// Equal parts of the columns.
    pub groups: usize,
    /// `[wide / 2][groups][2]`, and what all results are multiplied with.
    pub scales: Option<(&'a [f32], f32)>,
    /// Like scales; needs sums.
    pub biases: Option<&'a [f32]>,
    pub wide: usize,
}

/// `out[i * ld + j] = x[i] . W[j]`, or `+=`, for all rows of `x`; `sums` has `groups` for each.
pub fn multiply(a: &Weights<'_>, x: &[Bf16], k: usize, sums: Option<&Vec<f32>>, out: &mut [f32], ld: usize, add: bool) {
    let m = x.len() / k;
    let bytes = SIDE * a.depth / 2;
    assert!(a.depth.is_multiple_of(4 * a.groups) && a.panel.len() >= a.wide.div_ceil(SIDE) * bytes);
    assert!(a.scales.is_none_or(|(s, _)| s.len() >= a.wide.next_multiple_of(SIDE) * a.groups));
    assert!(a.biases.is_none_or(|b| b.len() >= a.wide.next_multiple_of(SIDE) * a.groups && sums.is_some()));
    with_scratch(bytes, |rows| {
        for i in (0..m).step_by(SIDE) {
            let tall = SIDE.min(m - i);
            pack(&x[i * k..(i + tall) * k], k, rows);
            for j in (0..a.wide).step_by(SIDE) {
                let at = j * a.groups;
                // Rows that are missing stand for themselves with another's sums.
                let sums_of =
                    |r: usize| sums.map_or(std::ptr::null(), |s| s[(i + r.min(tall - 1)) * a.groups..].as_ptr());
                let square = Square {
                    x: rows.as_ptr().cast(),
                    w: a.panel[j / SIDE * bytes..].as_ptr().cast(),
                    steps: a.depth / a.groups / 4,
                    groups: a.groups,
                    scales: a.scales.map_or(std::ptr::null(), |(s, _)| s[at..].as_ptr()),
                    biases: a.biases.map_or(std::ptr::null(), |b| b[at..].as_ptr()),
                    sums: std::array::from_fn(sums_of),
                };
                // SAFETY: the processor has FEAT_BF16, which the caller's level says; sizes were checked.
                let result = unsafe {
                    match tall.div_ceil(2) {
                        1 => square_of::<1>(&square),
                        2 => square_of::<2>(&square),
                        3 => square_of::<3>(&square),
                        _ => square_of::<4>(&square),
                    }
                };
                let factor = a.scales.map_or(1.0, |(_, factor)| factor);
                for (r, row) in result.iter().enumerate().take(tall) {
                    for (o, v) in out[(i + r) * ld + j..].iter_mut().zip(row).take(SIDE.min(a.wide - j)) {
                        *o = if add { *o + v } else { v * factor };
                    }
                }
            }
        }
    });
}

/// Eight packed rows of input and eight of weights.
struct Square {
    x: *const u16,
    w: *const u16,
    /// Of four columns, for each group.
    steps: usize,
    groups: usize,
    /// `[4][groups][2]`; null for dense weights, which are one group.
    scales: *const f32,
    /// Like scales; null where there are none.
    biases: *const f32,
    /// `groups` each.
    sums: [*const f32; SIDE],
}

/// The first `2 * P` rows of the products.
#[target_feature(enable = "bf16")]
unsafe fn square_of<const P: usize>(a: &Square) -> [[f32; SIDE]; SIDE] {
    // SAFETY: the caller vouches for what the square describes.
    unsafe {
        let zero = vdupq_n_f32(0.0);
        let mut total = [[zero; 4]; P];
        let (mut x, mut w) = (a.x, a.w);
        for g in 0..a.groups {
            let mut acc = [[zero; 4]; P];
            for _ in 0..a.steps {
                let mut rows = [vdupq_n_u16(0); P];
                for i in 0..P {
                    rows[i] = vld1q_u16(x.add(8 * i));
                }
                for v in 0..4 {
                    let weights = vld1q_u16(w.add(8 * v));
                    for i in 0..P {
                        acc[i][v] = matrix_product(acc[i][v], rows[i], weights);
                    }
                }
                (x, w) = (x.add(32), w.add(32));
            }
            if a.scales.is_null() {
                total = acc;
                continue;
            }
            for v in 0..4 {
                // Sums are of two rows of input, each with two of weights.
                let pair = |of: *const f32| {
                    let two = vld1_f32(of.add((v * a.groups + g) * 2));
                    vcombine_f32(two, two)
                };
                let scale = pair(a.scales);
                for i in 0..P {
                    total[i][v] = vfmaq_f32(total[i][v], acc[i][v], scale);
                }
                if !a.biases.is_null() {
                    let bias = pair(a.biases);
                    for i in 0..P {
                        let sum = |r: usize| vdup_n_f32(*a.sums[2 * i + r].add(g));
                        total[i][v] = vfmaq_f32(total[i][v], vcombine_f32(sum(0), sum(1)), bias);
                    }
                }
            }
        }
        let mut out = [[0.0; SIDE]; SIDE];
        for i in 0..P {
            for v in 0..4 {
                vst1_f32(out[2 * i][2 * v..].as_mut_ptr(), vget_low_f32(total[i][v]));
                vst1_f32(out[2 * i + 1][2 * v..].as_mut_ptr(), vget_high_f32(total[i][v]));
            }
        }
        out
    }
}

/// Adds `a b^T` for 2 x 4 numbers each.
#[inline]
#[target_feature(enable = "bf16")]
fn matrix_product(mut sums: float32x4_t, a: uint16x8_t, b: uint16x8_t) -> float32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: a calculation in registers, which this function's processors have.
    unsafe {
        asm!("bfmmla {s:v}.4s, {a:v}.8h, {b:v}.8h", s = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
