//! mlx-c, the C API of MLX: mlx-sys where it builds (Apple), the same declarations checked in elsewhere.

#[cfg(target_vendor = "apple")]
pub use mlx_sys::*;

#[cfg(not(target_vendor = "apple"))]
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case, dead_code, clippy::all)]
mod bindings;
#[cfg(not(target_vendor = "apple"))]
pub use bindings::*;
