//! CPU kernels for hosts where MLX's own CPU back end is a reference implementation.
//!
//! Pure functions over slices that know nothing of MLX; `array/host.rs` hands them evaluated buffers. Everything is
//! accumulated in f32, whatever the types of inputs and results. Each kernel exists in plain Rust, compiled once for
//! every instruction set of [`Level`], and by hand where that pays; the choice is made at run time.

// Loops over registers and lanes read best by index, and kernels take what they take.
#![allow(clippy::needless_range_loop, clippy::too_many_arguments)]

mod argmax;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod codes;
mod experts;
mod floats;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
pub mod pool;
mod product;
mod rope;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use argmax::argmax;
pub use attention::{Append, Attention, Keys, Over, Visible, attend, attend_all};
pub use codes::Codes;
pub use experts::{Experts, RouterSoftmax, Routing, mix};
pub use floats::{Bf16, F16, Floats, FloatsMut, Kind};
pub use level::Level;
pub use norm::{NormParams, normalize};
pub use product::{Act, Epilogue, FloatFormat, Matrix, Part, Values, gather_rows, product};
pub use rope::Rotation;

#[cfg(test)]
mod tests;
