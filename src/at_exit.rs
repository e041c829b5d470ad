//! The one call into the C library that safe Rust has no name for.

/// Calls `f` when the process ends by `exit` or by returning from `main`; the last registered is called first.
pub fn register(f: extern "C" fn()) {
    // SAFETY: the function lives as long as the library, which is linked so that it is never unloaded (build.rs).
    unsafe { libc::atexit(f) };
}
