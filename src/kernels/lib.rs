//! CPU kernels for hosts where MLX's own CPU back end is a reference implementation.
//!
//! Pure functions over slices that know nothing of MLX; `array/host.rs` hands them evaluated buffers. Everything is
//! accumulated in f32, whatever the types of inputs and results. Each kernel exists in portable Rust, compiled once
//! for every instruction set of [`Level`], and in intrinsics where that pays; the choice is made at run time.
//!
//! | | |
//! | --- | --- |
//! | operands | `matrix` (weights: dense, or `codes` with scales), `input` (in the forms that kernels read), `floats` |
//! | products | `product` (tasks), `tile` (which kernel), `gemv` (few rows of input), `gemm` (many), `blocking` (sizes) |
//! | after a product | `epilogue`, `activation` |
//! | other kernels | `experts`, `attention`, `recurrence`, `convolve`, `norm`, `rope`, `gather`, `argmax` |
//! | in intrinsics | `avx2`, `avx512` and `neon`: their gemv, gemm and attention |
//! | for all | `level` (instruction sets), `pool` (threads), `scratch`, `math` |

// Loops over registers and lanes read best by index, and kernels take what they take.
#![allow(clippy::needless_range_loop, clippy::too_many_arguments)]

mod activation;
mod argmax;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocking;
mod codes;
mod convolve;
mod epilogue;
mod experts;
mod floats;
mod gather;
mod gemm;
mod gemv;
mod input;
mod level;
mod math;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
pub mod pool;
mod product;
mod recurrence;
mod rope;
mod scratch;
mod tile;

pub use activation::Act;
pub use argmax::argmax;
pub use attention::{Append, Attention, Keys, Over, Visible, attend, attend_all};
pub use codes::Codes;
pub use convolve::{Convolution, convolve};
pub use epilogue::Epilogue;
pub use experts::{Experts, RouterSoftmax, Routing, mix};
pub use floats::{Bf16, F16, Floats, FloatsMut, Kind};
pub use gather::gather_rows;
pub use level::Level;
pub use matrix::{FloatFormat, Matrix, Part, Values};
pub use norm::{NormParams, normalize};
pub use product::product;
pub use recurrence::{Operand, Recurrence, recur};
pub use rope::Rotation;

#[cfg(test)]
mod tests;
