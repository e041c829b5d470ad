//! The CUDA back end: fused operations of a decoding step, as kernels of our own.
//!
//! A step of a small model is bound by the host's time for each operation, one of a large model by how fast weights are
//! read; so these do as much as they can in one operation, and read each weight once for all sequences of a batch. For
//! up to [`FEW`](linear::FEW) rows of input in bfloat16 or half, and weights in the same type or in 4 or 8 bits;
//! everything else is MLX's: each function returns `None` where there is no kernel for what is asked. MLX's kernels for
//! Metal are good. `MLXE_GPU_KERNELS=0` turns these off.

mod attend;
mod attention_kernel;
mod common;
#[cfg_attr(target_vendor = "apple", path = "absent.rs")]
mod kernel;
mod kernels;
mod linear;
mod linear_kernel;
mod prompt;
mod source;
#[cfg(not(target_vendor = "apple"))]
mod store;
#[cfg(test)]
mod tests;

pub use attend::attend;
pub use linear::{linear, supports};
pub use prompt::attend_prompt;
