//! MLX's memory and its limits. All figures are bytes, for the whole process. Mapped weight files count as held.

use super::error::{check, install_handler};
use super::{mapping, sys};
use crate::error::Result;

fn read(f: unsafe extern "C" fn(*mut usize) -> std::ffi::c_int) -> usize {
    install_handler();
    let mut bytes = 0;
    // SAFETY: `bytes` outlives the call. These getters only read counters.
    unsafe { f(&mut bytes) };
    bytes
}

#[track_caller]
fn set(f: unsafe extern "C" fn(*mut usize, usize) -> std::ffi::c_int, limit: usize, what: &str) -> Result<usize> {
    install_handler();
    let mut previous = 0;
    // SAFETY: `previous` outlives the call.
    check(unsafe { f(&mut previous, limit) }, what)?;
    Ok(previous)
}

/// Bytes held by live arrays.
pub fn active() -> usize {
    read(sys::mlx_get_active_memory) + mapping::mapped()
}

/// Bytes kept for reuse after arrays were freed.
pub fn cache() -> usize {
    read(sys::mlx_get_cache_memory)
}

/// The largest [`active`] since the start or the last [`reset_peak`].
pub fn peak() -> usize {
    read(sys::mlx_get_peak_memory) + mapping::mapped_peak()
}

/// Restarts [`peak`] from now.
pub fn reset_peak() {
    install_handler();
    // SAFETY: no arguments.
    unsafe { sys::mlx_reset_peak_memory() };
    mapping::reset_mapped_peak();
}

/// The limit at which MLX begins to wait for running work before it allocates more.
pub fn limit() -> usize {
    read(sys::mlx_get_memory_limit)
}

/// Sets [`limit`] and returns the previous one.
#[track_caller]
pub fn set_limit(bytes: usize) -> Result<usize> {
    set(sys::mlx_set_memory_limit, bytes, "set_memory_limit")
}

/// Sets how much freed memory MLX may keep for reuse, and returns the previous limit.
#[track_caller]
pub fn set_cache_limit(bytes: usize) -> Result<usize> {
    set(sys::mlx_set_cache_limit, bytes, "set_cache_limit")
}

/// Returns the memory kept for reuse to the system.
pub fn clear_cache() {
    install_handler();
    // SAFETY: no arguments.
    unsafe { sys::mlx_clear_cache() };
}
