//! A tile of a product, some output features for all rows of input, and which kernel computes it.
//!
//! Few rows of input (decoding) are a matter of memory: gemv, dot products straight from the packed weights. Many rows
//! (prefill) are a matter of arithmetic: gemm, in which a block of weights is unpacked into a panel that fits the cache
//! and multiplied with all of them.

use super::blocking::FEW;
use super::gemm::gemm;
use super::gemv::gemv;
use super::input::{Input, in_bf16};
use super::level::Level;
use super::matrix::Matrix;

/// `tile[i * n + j] = x[i] . W[from + j]`
pub(super) fn compute(level: Level, w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    if input.m <= FEW {
        return few_rows(level, w, from, n, input, tile);
    }
    #[cfg(target_arch = "x86_64")]
    if in_bf16(level, input.x.kind(), w) {
        return super::avx512::gemm(w, from, n, input, tile);
    }
    #[cfg(target_arch = "aarch64")]
    if in_bf16(level, input.x.kind(), w) {
        return super::neon::gemm(w, from, n, input, tile);
    }
    gemm(level, w, from, n, input, tile);
}

fn few_rows(level: Level, w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return super::avx512::gemv(w, from, n, input, tile);
    }
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx2 {
        return super::avx2::gemv(w, from, n, input, tile);
    }
    #[cfg(target_arch = "aarch64")]
    if level >= Level::Neon {
        return super::neon::gemv(level, w, from, n, input, tile);
    }
    gemv(level, w, from, n, input, tile);
}
