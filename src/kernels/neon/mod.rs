//! Kernels in NEON intrinsics, and what later processors add to it (see [`Level`](super::Level)).
//!
//! NEON itself is part of every target that this is compiled for; what goes beyond it stands in functions that say so.
//!
//! | file | |
//! | --- | --- |
//! | `gemv.rs` | few rows of input: weights are unpacked in registers, several rows at a time |
//! | `gemv_dense.rs`, `gemv_quantized.rs` | its kernels, over dense and over quantized weights |
//! | `gemm.rs` | many rows of input in bf16, by `bfmmla` |
//! | `panel.rs` | weights and inputs in the order in which gemm reads them |
//! | `attention.rs` | scores, and weighted sums of values, of many queries |
//! | `codes.rs` | codes in registers |
//! | `register_tile.rs` | how many rows at a time |

mod attention;
mod codes;
mod gemm;
mod gemv;
mod gemv_dense;
mod gemv_quantized;
mod panel;
mod register_tile;

pub(super) use attention::{score_bf16, weigh_bf16};
pub(super) use gemm::gemm;
pub(super) use gemv::gemv;
