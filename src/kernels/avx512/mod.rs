//! Kernels in AVX-512 intrinsics.
//!
//! | file | |
//! | --- | --- |
//! | `gemv.rs` | few rows of input: weights are unpacked in registers, several rows at a time |
//! | `gemv_dense.rs`, `gemv_quantized.rs` | its kernels, over dense and over quantized weights |
//! | `gemm.rs` | many rows of input in bf16, by `vdpbf16ps` |
//! | `panel.rs` | weights in the order in which gemm reads them |
//! | `attention.rs` | scores, and weighted sums of values |
//! | `codes.rs`, `vector.rs` | codes and numbers in registers, masks of lanes, prefetches |
//! | `register_tile.rs` | how many rows at a time |

mod attention;
mod codes;
mod gemm;
mod gemv;
mod gemv_dense;
mod gemv_quantized;
mod panel;
mod register_tile;
mod vector;

pub(super) use attention::{score, score_bf16, weigh, weigh_bf16};
pub(super) use gemm::gemm;
pub(super) use gemv::gemv;
