//! The end of the process.

use std::ffi::c_int;

/// Runs `action` when the process ends, before anything that MLX has made up to now is destroyed.
///
/// MLX keeps what it shares in C++ statics. They are destroyed while the other threads still run, and a thread that
/// computes or frees an array then corrupts the heap. Handlers run in the opposite order of their registration.
pub fn before_exit(action: extern "C" fn()) {
    // SAFETY: the function lives as long as the library; the C library runs the handlers of a library that is unloaded
    // before that. It fails when memory is short, which leaves things as they were.
    let _: c_int = unsafe { libc::atexit(action) };
}
