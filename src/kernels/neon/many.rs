//! Many rows of input in bf16, by products of 2 x 4 with 4 x 2 numbers (FEAT_BF16).
//!
//! Eight rows of input and eight of weights, codes being exact in bf16, are each put in the order `[columns / 4][8][4]`,
//! in which `bfmmla` reads two rows at a time; then 8 x 8 sums are accumulated in registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::Level;
use super::super::codes::Codes;
use super::super::floats::{Bf16, Floats};
use super::super::product::{Grouped, Matrix, Values};
use super::super::tile::{Prepared, group_index, with_scratch};
use super::codes::{E2M1, E4M3, bits, factor, numbers};
use super::quantized::read_scales;

/// Rows of input, and of weights, that are accumulated at a time.
const SIDE: usize = 8;
/// Output features of a panel.
const WIDE: usize = 64;

/// `tile[i * n + j] = x[i] . W[from + j]`; the matrix is quantized or in bf16.
pub fn many(w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    let Floats::Bf16(x) = p.x else { unreachable!("chosen for bf16") };
    let (m, k) = (p.m, p.k);
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
            let sums = grouped.as_ref().and_then(|q| q.biases).map(|_| &p.sums[group_index(group)]);
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

/// `out[i * n + s] = x[i] . rows[s]` for rows of bf16, `k` long each.
pub fn scores(x: &[Bf16], k: usize, rows: &[Bf16], out: &mut [f32]) {
    let n = rows.len() / k;
    let depth = k.next_multiple_of(4);
    with_scratch(n.next_multiple_of(SIDE) * depth / 2, |panel| {
        pack(rows, k, panel);
        let a = Weights { panel, depth, groups: 1, scales: None, biases: None, wide: n };
        multiply(&a, x, k, None, out, n, false);
    });
}

/// `out[i * n + d] += sum over s of weights[i * k + s] * values[s * stride + d]`
pub fn weigh(weights: &[Bf16], k: usize, values: &[Bf16], stride: usize, n: usize, out: &mut [f32]) {
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

/// Packed rows of weights.
struct Weights<'a> {
    /// Blocks of eight rows, of `depth` columns.
    panel: &'a [f32],
    /// A multiple of 4.
    depth: usize,
    /// Equal parts of the columns.
    groups: usize,
    /// `[wide / 2][groups][2]`, and what all results are multiplied with.
    scales: Option<(&'a [f32], f32)>,
    /// Like scales; needs sums.
    biases: Option<&'a [f32]>,
    wide: usize,
}

/// `out[i * ld + j] = x[i] . W[j]`, or `+=`, for all rows of `x`; `sums` has `groups` for each.
fn multiply(a: &Weights<'_>, x: &[Bf16], k: usize, sums: Option<&Vec<f32>>, out: &mut [f32], ld: usize, add: bool) {
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

/// Blocks of eight rows as numbers of 16 bits.
fn blocks(panel: &mut [f32], depth: usize) -> impl Iterator<Item = &mut [u16]> {
    panel.chunks_exact_mut(SIDE * depth / 2).map(|block| {
        // SAFETY: an f32 is two numbers of 16 bits.
        unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast(), 2 * block.len()) }
    })
}

/// Rows of `k` numbers; missing ones and columns are zero.
fn pack(rows: &[Bf16], k: usize, panel: &mut [f32]) {
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
fn pack_codes(q: &Grouped<'_>, k: usize, from: usize, wide: usize, panel: &mut [f32]) {
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
fn in_pairs(from: &[f32], groups: usize, to: &mut [f32]) {
    for (r, row) in from.chunks_exact(groups).enumerate() {
        for (g, v) in row.iter().enumerate() {
            to[(r / 2 * groups + g) * 2 + r % 2] = *v;
        }
    }
}

/// Eight packed rows of input and eight of weights.
struct Square {
    x: *const u16,
    w: *const u16,
    /// Of four columns, for each group.
    steps: usize,
    groups: usize,
    /// `[4][groups][2]`; null for plain numbers, which are one group.
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
