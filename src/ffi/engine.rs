//! Engines.

use std::ffi::c_char;

use super::options;
use super::{free, guard, mlxe_engine_options_t, mlxe_error_t, out};
use crate::array::Device;
use crate::engine::Engine;

/// Owns the thread where models live and compute. Free with mlxe_engine_free(); models and tasks keep it alive, so
/// handles can be freed in any order.
pub struct mlxe_engine_t(pub(super) Engine);

/// Starts an engine.
///
/// `options` may be NULL for the defaults. `out_engine` receives the engine, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, MLXE_ERROR_UNSUPPORTED_MODEL (no such device), MLXE_ERROR_IO (no thread).
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_new(
    options: *const mlxe_engine_options_t,
    out_engine: *mut *mut mlxe_engine_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (request, place) =
            unsafe { (options::read(options, "options")?.request()?, out(out_engine, "out_engine")?) };
        let engine = Engine::new(&request)?;
        *place = Box::into_raw(Box::new(mlxe_engine_t(engine)));
        Ok(())
    })
}

/// The device that the engine computes on: "cpu" or "gpu". Static; do not free. NULL if `engine` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_device(engine: *const mlxe_engine_t) -> *const c_char {
    // SAFETY: NULL or a live engine, as documented.
    match unsafe { engine.as_ref() }.map(|e| e.0.device()) {
        Some(Device::Cpu) => c"cpu".as_ptr(),
        Some(Device::Gpu) => c"gpu".as_ptr(),
        None => std::ptr::null(),
    }
}

/// Bytes of state from generations that are kept for later prompts. 0 if `engine` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_prefix_bytes(engine: *const mlxe_engine_t) -> usize {
    // SAFETY: NULL or a live engine, as documented.
    unsafe { engine.as_ref() }.map_or(0, |e| e.0.prefix_bytes())
}

/// Frees the state kept from generations, before any work that is started after this call. Freeing a model also frees
/// its state. Does nothing if `engine` is NULL.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_clear_prefixes(engine: *const mlxe_engine_t) {
    // SAFETY: NULL or a live engine, as documented.
    if let Some(engine) = unsafe { engine.as_ref() } {
        engine.0.clear_prefixes();
    }
}

/// Releases the engine. It ends with its last model and task. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_free(engine: *mut mlxe_engine_t) {
    // SAFETY: NULL or an owned engine, as documented.
    unsafe { free(engine) }
}
