//! Engines and memory.

use std::ffi::c_char;

use super::options::{self, Versioned};
use super::{free, guard, mlxe_error_t, out, required};
use crate::array::{Device, memory};
use crate::engine::{Engine, EngineOptions};
use crate::error::Error;

/// Owns the thread where models live and compute. Free with mlxe_engine_free(); models and tasks keep it alive, so the
/// order of freeing does not matter.
pub struct mlxe_engine_t(pub(super) Engine);

/// The GPU if there is one, else the CPU.
pub const MLXE_DEVICE_DEFAULT: i32 = 0;
/// The host's processor.
pub const MLXE_DEVICE_CPU: i32 = 1;
/// Metal on Apple silicon, CUDA where the CUDA build of MLX is loaded.
pub const MLXE_DEVICE_GPU: i32 = 2;

/// How to set up an engine. Initialise with mlxe_engine_options_init().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_engine_options_t {
    /// sizeof(mlxe_engine_options_t)
    pub struct_size: usize,
    /// MLXE_DEVICE_*
    pub device: i32,
    /// Threads that CPU kernels use, in the whole process: the first engine that computes decides. 0 for one a core, or
    /// what the environment variable MLXE_THREADS says. Without effect where MLX computes itself (GPU, Apple).
    pub cpu_threads: i32,
    /// Bytes of freed memory that MLX may keep for reuse, in the whole process; SIZE_MAX leaves MLX's limit.
    pub cache_limit: usize,
    /// Bytes at which MLX waits for running work before it allocates more, in the whole process; 0 leaves MLX's limit.
    pub memory_limit: usize,
    /// Generations of one model that are decoded together at most, one token of each a step; 0 for 8. 1 decodes each for
    /// itself. Each gets the tokens that it would get alone; on a CPU exactly so for up to 16, beyond and on a GPU but for
    /// rounding.
    pub max_batch: usize,
}

// SAFETY: repr(C), begins with the size, plain numbers.
unsafe impl Versioned for mlxe_engine_options_t {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        mlxe_engine_options_t {
            struct_size: std::mem::size_of::<Self>(),
            device: MLXE_DEVICE_DEFAULT,
            cpu_threads: 0,
            cache_limit: usize::MAX,
            memory_limit: 0,
            max_batch: 0,
        }
    }
}

/// Sets all options to their defaults. `size` is sizeof of the struct; no more than that is written. Does nothing if
/// `options` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_options_init(options: *mut mlxe_engine_options_t, size: usize) {
    // SAFETY: the caller's struct is that large.
    unsafe { options::init(options, size) }
}

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
        let (options, place) = unsafe { (options::read(options, "options")?, out(out_engine, "out_engine")?) };
        let device = match options.device {
            MLXE_DEVICE_DEFAULT => None,
            MLXE_DEVICE_CPU => Some(Device::Cpu),
            MLXE_DEVICE_GPU => Some(Device::Gpu),
            other => return Err(Error::invalid_argument(format!("options.device is {other}"))),
        };
        let cpu_threads = usize::try_from(options.cpu_threads)
            .map_err(|_| Error::invalid_argument(format!("options.cpu_threads is {}", options.cpu_threads)))?;
        let engine = Engine::new(&EngineOptions {
            device,
            cpu_threads: (cpu_threads != 0).then_some(cpu_threads),
            cache_limit: (options.cache_limit != usize::MAX).then_some(options.cache_limit),
            memory_limit: (options.memory_limit != 0).then_some(options.memory_limit),
            max_batch: (options.max_batch != 0).then_some(options.max_batch),
        })?;
        *place = Box::into_raw(Box::new(mlxe_engine_t(engine)));
        Ok(())
    })
}

/// Where the engine computes: "cpu" or "gpu". Static; do not free. NULL if `engine` is NULL.
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

/// Gives the engine up. It ends with the last model and task on it. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_engine_free(engine: *mut mlxe_engine_t) {
    // SAFETY: NULL or an owned engine, as documented.
    unsafe { free(engine) }
}

/// MLX's memory in bytes, for the whole process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_memory_t {
    /// sizeof(mlxe_memory_t), set by the caller.
    pub struct_size: usize,
    /// Held by models, caches and work.
    pub active: usize,
    /// Kept for reuse after it was freed.
    pub cache: usize,
    /// The most that was active since the start or the last mlxe_memory_reset_peak().
    pub peak: usize,
    /// At which MLX waits for running work before it allocates more.
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

/// Sets how many bytes of freed memory MLX may keep for reuse, in the whole process. 0 keeps none.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_set_cache_limit(bytes: usize) -> *mut mlxe_error_t {
    guard(|| memory::set_cache_limit(bytes).map(drop))
}

/// Sets the bytes at which MLX waits for running work before it allocates more, in the whole process.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_set_limit(bytes: usize) -> *mut mlxe_error_t {
    guard(|| memory::set_limit(bytes).map(drop))
}

/// Gives memory that MLX keeps for reuse back to the system.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_clear_cache() {
    let _ = std::panic::catch_unwind(memory::clear_cache);
}

/// Makes the peak start again from now.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_memory_reset_peak() {
    let _ = std::panic::catch_unwind(memory::reset_peak);
}
