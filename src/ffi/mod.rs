//! The C API: include/mlx_engine.h, generated from here by `cargo xtask header`.
//!
//! Translation only. Every function runs inside [`guard`], which turns panics into errors; every pointer is checked for
//! NULL; every outgoing pointer is written on success only.
#![allow(non_camel_case_types)]
// The documentation is the header's, whose conventions say what callers owe.
#![allow(clippy::missing_safety_doc)]

mod callbacks;
mod copies;
mod engine;
mod engine_options;
mod error;
mod events;
mod generate;
mod generate_options;
mod generation;
mod hub;
mod hub_options;
mod hub_search;
mod hub_work;
mod load;
mod load_options;
mod log;
mod model;
mod optional;
mod options;
mod process;
mod process_options;
mod progress;
mod queue;
mod sampler;
mod scores;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod version;

pub use copies::*;
pub use engine::*;
pub use engine_options::*;
pub use error::*;
pub use events::*;
pub use generate::*;
pub use generate_options::*;
pub use generation::*;
pub use hub::*;
pub use hub_options::*;
pub use hub_search::*;
pub use load::*;
pub use load_options::*;
pub use log::*;
pub use model::*;
pub use optional::*;
pub use process::*;
pub use process_options::*;
pub use progress::*;
pub use sampler::*;
pub use scores::*;
pub use task::*;
pub use text::*;
pub use tokenizer::*;
pub use version::*;

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::engine::panic_error;
use crate::error::{Error, Result};

/// Runs the body of an API function: errors and panics become an owned error object, success becomes NULL.
fn guard(body: impl FnOnce() -> Result<()>) -> *mut mlxe_error_t {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panic_error(&*payload)));
    match result {
        Ok(()) => null_mut(),
        Err(error) => mlxe_error_t::into_raw(error),
    }
}

/// A reference behind a pointer that must not be NULL.
///
/// # Safety
/// `pointer` is NULL or valid for `'a`.
unsafe fn required<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Error::invalid_argument(format!("{name} is NULL")))
}

/// A place for a result, which must not be NULL.
///
/// # Safety
/// `pointer` is NULL or valid for writing during `'a`.
unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| Error::invalid_argument(format!("{name} is NULL")))
}

/// A slice; NULL is fine when it is empty.
///
/// # Safety
/// `data` points to `len` elements that are valid for `'a`.
unsafe fn slice<'a, T>(data: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::invalid_argument(format!("{name} is NULL"))),
        // More than this cannot be one object; a negative number that was converted can.
        (false, n) if n > isize::MAX as usize / std::mem::size_of::<T>() => {
            Err(Error::invalid_argument(format!("{name}: a length of {n} is impossible")))
        }
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data, len) }),
    }
}

/// Frees what `Box::into_raw` returned. A panic while freeing is swallowed: there is no one to report it to.
///
/// # Safety
/// `pointer` is NULL or owned.
unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(pointer) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}

/// What the caller wants to find again in its callbacks.
#[derive(Clone, Copy)]
struct UserData {
    pointer: *mut c_void,
    drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: the API says that callbacks run on the library's threads; the caller's data must allow it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// Calls the caller's `drop` once, when nothing can call back any more.
struct DropGuard(UserData);

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(drop) = self.0.drop {
            // SAFETY: the caller gave the pointer and the function for each other.
            unsafe { drop(self.0.pointer) }
        }
    }
}

/// A NUL-terminated string for the duration of a callback. The buffer is reused.
#[derive(Default)]
struct TextBuffer(Vec<u8>);

impl TextBuffer {
    fn set(&mut self, text: &str) -> *const c_char {
        self.0.clear();
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.0.as_ptr().cast()
    }
}
