//! MLX's errors as [`Error`]s.
//!
//! mlx-c reports an error by calling one process-wide handler on the thread that made the call; its own handler ends
//! the process. Ours, installed before the first call, keeps the message for that thread until the call returns.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::Location;
use std::sync::Once;

use super::sys;
use crate::error::{Error, ErrorKind, Result};

thread_local! {
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs our handler once. Every path into MLX goes through this.
#[inline]
pub(super) fn install_handler() {
    static INSTALLED: Once = Once::new();
    // SAFETY: the handler has the right signature, lives forever and does not unwind.
    INSTALLED.call_once(|| unsafe {
        sys::mlx_set_error_handler(Some(on_error), std::ptr::null_mut(), None);
        // On the CPU, compiling means running a C++ compiler through the shell in a predictable temporary folder.
        sys::mlx_disable_compile();
    });
}

extern "C" fn on_error(message: *const c_char, _: *mut c_void) {
    // SAFETY: mlx-c passes a NUL-terminated string.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // During thread shutdown the slot may be gone; then no one is left to read it either.
    let _ = MESSAGE.try_with(|slot| *slot.borrow_mut() = Some(text));
}

/// The error of the mlx-c call that just failed on this thread.
#[track_caller]
pub(super) fn take(what: &str) -> Error {
    let raw = MESSAGE.with(|slot| slot.borrow_mut().take());
    let raw = raw.unwrap_or_else(|| "MLX reported an error without a message".into());
    // mlx-c appends " at <its own source file>:<line>", which tells our reader nothing.
    let message = match raw.rfind(" at ") {
        Some(at) if raw[at..].contains(".cpp:") => &raw[..at],
        _ => &raw,
    };
    let lower = message.to_ascii_lowercase();
    let memory = ["unable to allocate", "out of memory", "insufficient memory", "bad_alloc", "maximum allowed buffer"];
    let kind = if memory.iter().any(|m| lower.contains(m)) { ErrorKind::OutOfMemory } else { ErrorKind::Mlx };
    let site = Location::caller();
    Error::new(kind, format!("MLX {what}: {message} ({}:{})", site.file(), site.line()))
}

/// Turns an mlx-c return code into a `Result`.
#[track_caller]
#[inline]
pub(super) fn check(rc: c_int, what: &str) -> Result<()> {
    match rc {
        0 => Ok(()),
        _ => Err(take(what)),
    }
}
