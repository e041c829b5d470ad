//! Settings and memory of the process.

use super::options;
use super::{guard, mlxe_error_t, mlxe_process_options_t, mlxe_string_t, out, required};
use crate::array::{devices, memory};
use crate::error::Error;
use crate::process;

/// Sets the given options for the whole process; the others stay as they are.
///
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, including if CPU kernels already run on a different number of threads.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_process_set(options: *const mlxe_process_options_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let request = unsafe { options::read(required(options, "options")?, "options")?.request()? };
        process::set(&request)
    })
}

/// Returns the current settings. `out_options` must have been initialised by mlxe_process_options_init(). All options
/// are set in it, except `cache_limit` while MLX's own limit applies. Calling this fixes the number of threads.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_process_get(out_options: *mut mlxe_process_options_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        unsafe { options::write(out_options, &mlxe_process_options_t::from(process::get()), "out_options") }
    })
}

/// MLX's memory in bytes, for the whole process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_memory_t {
    /// sizeof(mlxe_memory_t), set by the caller.
    pub struct_size: usize,
    /// Held by models, caches and work in progress.
    pub active: usize,
    /// Freed, and kept for reuse.
    pub cache: usize,
    /// The maximum of `active` since the start or the last mlxe_memory_reset_peak().
    pub peak: usize,
    /// The limit at which MLX waits for running work before it allocates more.
    pub limit: usize,
}

/// Reads MLX's memory counters into `out_memory`, whose struct_size the caller has set.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_memory_get(out_memory: *mut mlxe_memory_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented; no more than the size is read of a struct that may be too small.
        let size = *unsafe { required(out_memory.cast_const().cast::<usize>(), "out_memory") }?;
        let ours = std::mem::size_of::<mlxe_memory_t>();
        if size < ours {
            return Err(Error::invalid_argument(format!("out_memory.struct_size is {size}, not {ours}")));
        }
        let now = mlxe_memory_t {
            struct_size: size,
            active: memory::active(),
            cache: memory::cache(),
            peak: memory::peak(),
            limit: memory::limit(),
        };
        // SAFETY: as documented.
        unsafe { out_memory.write(now) };
        Ok(())
    })
}

/// The devices that engines can use here, as a JSON array of {"device" ("cpu" or "gpu"), "name", "memory_total",
/// "memory_available", "kernels" ("mlx", or the level of the library's CPU kernels, such as "avx512"), "is_default"}. Memory
/// is in bytes; unknown values are null. Later versions may add keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_devices_json(out_json: *mut *mut mlxe_string_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let place = unsafe { out(out_json, "out_json") }?;
        let json = serde_json::to_string(&devices()).map_err(|e| Error::internal(e.to_string()))?;
        *place = Box::into_raw(mlxe_string_t::new(json));
        Ok(())
    })
}

/// Returns memory that MLX keeps for reuse to the system.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_clear_cache() {
    let _ = std::panic::catch_unwind(memory::clear_cache);
}

/// Restarts the peak from now.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_reset_peak() {
    let _ = std::panic::catch_unwind(memory::reset_peak);
}
