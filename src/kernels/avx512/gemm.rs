//! gemm: many rows of input in bf16. A panel of 64 output features is multiplied with 6 rows of input at a time, whose
//! results are accumulated in registers.

use std::arch::x86_64::*;

use super::panel::{WIDE, fill_panel, transposed};
use super::vector::first_lanes;
use crate::Level;
use crate::floats::{Bf16, Floats};
use crate::input::{Input, group_index};
use crate::matrix::Matrix;
use crate::scratch::with_scratch;

/// Rows of input that are accumulated at a time.
pub const TALL: usize = 6;

/// `tile[i * n + j] = x[i] . W[from + j]` for many rows of bf16 input; the matrix is quantized or in bf16.
pub fn gemm(w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let Floats::Bf16(x) = input.x else { unreachable!("chosen for bf16") };
    let (m, k) = (input.m, input.k);
    assert!(x.len() == m * k && tile.len() == m * n && from + n <= w.rows);
    let grouped = w.grouped();
    let group = grouped.as_ref().map_or(k, |q| q.group);
    let groups = if grouped.is_some() { k / group } else { 1 };
    let pairs = k.div_ceil(2);
    // The panel holds pairs of bf16 in the place of an f32; scales and biases lie beside it as [group][feature].
    with_scratch(pairs * WIDE + 2 * groups * WIDE, |scratch| {
        let (panel, rest) = scratch.split_at_mut(pairs * WIDE);
        let (scales, biases) = rest.split_at_mut(groups * WIDE);
        for j in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - j);
            fill_panel(w, grouped.as_ref(), from + j, wide, panel);
            if let Some(q) = &grouped {
                transposed(wide, groups, scales, |row, out| {
                    q.scales.read(Level::Avx512, (from + j + row) * groups, out)
                });
                if let Some(b) = q.biases {
                    transposed(wide, groups, biases, |row, out| {
                        b.slice((from + j + row) * groups, out.len()).read(Level::Avx512, out)
                    });
                }
            }
            let sums = grouped.as_ref().and_then(|q| q.biases).map(|_| &input.sums[group_index(group)]);
            for i in (0..m).step_by(TALL) {
                let a = Block {
                    x: x[i * k..].as_ptr(),
                    k,
                    group,
                    groups,
                    panel: panel.as_ptr(),
                    scales: grouped.as_ref().map_or(std::ptr::null(), |_| scales.as_ptr()),
                    biases: biases.as_ptr(),
                    sums: sums.map_or(std::ptr::null(), |s| s[i * groups..].as_ptr()),
                    wide,
                    out: tile[i * n + j..].as_mut_ptr(),
                    ld: n,
                    add: false,
                };
                // SAFETY: the processor has AVX512-BF16, which the caller's level says; the block describes memory that
                // is there.
                unsafe { multiply(&a, TALL.min(m - i)) };
            }
        }
    });
}

/// Up to [`TALL`] rows of input and a panel.
pub struct Block {
    pub x: *const Bf16,
    pub k: usize,
    pub group: usize,
    pub groups: usize,
    pub panel: *const f32,
    /// `[groups][WIDE]`; null for a dense matrix.
    pub scales: *const f32,
    pub biases: *const f32,
    /// `[rows][groups]`; null where there are no biases.
    pub sums: *const f32,
    pub wide: usize,
    pub out: *mut f32,
    pub ld: usize,
    /// Adds to what is in `out`.
    pub add: bool,
}

/// # Safety
/// As for [`micro`].
pub unsafe fn multiply(a: &Block, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => micro::<1>(a),
            2 => micro::<2>(a),
            3 => micro::<3>(a),
            4 => micro::<4>(a),
            5 => micro::<5>(a),
            _ => micro::<6>(a),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn micro<const M: usize>(a: &Block) {
    // SAFETY: the caller vouches for `M` rows of `x`, `sums` and `out` and for the panel.
    unsafe {
        let mut total = [[_mm512_setzero_ps(); 4]; M];
        for g in 0..a.groups {
            let mut acc = [[_mm512_setzero_ps(); 4]; M];
            let from = g * a.group;
            let mut panel = a.panel.add(from / 2 * WIDE);
            let mut x = a.x.add(from);
            for _ in 0..a.group / 2 {
                step(&mut acc, x, a.k, panel);
                panel = panel.add(WIDE);
                x = x.add(2);
            }
            if a.group % 2 == 1 {
                // The last column of a dense matrix has no partner: its pair's other half is zero in the panel, and
                // must not be read from `x`.
                let last: [[Bf16; 2]; M] = std::array::from_fn(|i| [*x.add(i * a.k), Bf16::ZERO]);
                step(&mut acc, last.as_ptr().cast(), 2, panel);
            }
            if a.scales.is_null() {
                total = acc;
                continue;
            }
            for v in 0..4 {
                let scale = _mm512_loadu_ps(a.scales.add(g * WIDE + v * 16));
                for i in 0..M {
                    total[i][v] = _mm512_fmadd_ps(acc[i][v], scale, total[i][v]);
                }
            }
            if !a.sums.is_null() {
                for v in 0..4 {
                    let bias = _mm512_loadu_ps(a.biases.add(g * WIDE + v * 16));
                    for i in 0..M {
                        let sum = _mm512_set1_ps(*a.sums.add(i * a.groups + g));
                        total[i][v] = _mm512_fmadd_ps(bias, sum, total[i][v]);
                    }
                }
            }
        }
        for i in 0..M {
            for v in 0..4 {
                let mask = first_lanes(a.wide.saturating_sub(v * 16));
                let out = a.out.wrapping_add(i * a.ld + v * 16);
                if a.add {
                    total[i][v] = _mm512_add_ps(total[i][v], _mm512_maskz_loadu_ps(mask, out));
                }
                _mm512_mask_storeu_ps(out, mask, total[i][v]);
            }
        }
    }
}

/// One pair of columns: `acc[i] += x[i] . panel`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn step<const M: usize>(acc: &mut [[__m512; 4]; M], x: *const Bf16, stride: usize, panel: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut w = [_mm512_setzero_ps(); 4];
        for v in 0..4 {
            w[v] = _mm512_loadu_ps(panel.add(v * 16));
        }
        for i in 0..M {
            let pair = _mm512_set1_epi32(x.add(i * stride).cast::<i32>().read_unaligned());
            for v in 0..4 {
                let w = std::mem::transmute::<__m512, __m512bh>(w[v]);
                acc[i][v] = _mm512_dpbf16_ps(acc[i][v], std::mem::transmute::<__m512i, __m512bh>(pair), w);
            }
        }
    }
}
