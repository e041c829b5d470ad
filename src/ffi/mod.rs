//! The C API: include/mlx_engine.h, generated from here by `cargo xtask header`.
//!
//! Nothing but translation. Every function runs inside [`guard`], which turns panics into errors; every pointer is
//! checked for NULL; every outgoing pointer is written on success only.
#![allow(non_camel_case_types)]

mod engine;
mod error;
mod generate;
mod load;
mod log;
mod model;
mod options;
mod task;
mod tokenizer;
mod version;

pub use engine::*;
pub use error::*;
pub use generate::*;
pub use load::*;
pub use log::*;
pub use model::*;
pub use task::*;
pub use tokenizer::*;
pub use version::*;

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::engine::panic_error;
use crate::error::{Error, Result};

/// Text that the caller owns: UTF-8, not necessarily NUL-terminated. Valid for the call it is passed to.
///
/// `data` may be NULL if `len` is 0. MLXE_STR("literal") and mlxe_str(pointer) make one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_str_t {
    /// First byte.
    pub data: *const c_char,
    /// Bytes.
    pub len: usize,
}

impl mlxe_str_t {
    const EMPTY: mlxe_str_t = mlxe_str_t { data: std::ptr::null(), len: 0 };

    /// The text, refused with the argument's name where it is not valid.
    ///
    /// # Safety
    /// `data` must point to `len` bytes that stay unchanged for `'a`.
    unsafe fn get<'a>(self, name: &str) -> Result<&'a str> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice(self.data.cast::<u8>(), self.len, name) }?;
        std::str::from_utf8(bytes).map_err(|e| Error::invalid_argument(format!("{name} is not UTF-8: {e}")))
    }

    /// Like [`get`](Self::get); `None` if empty.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    unsafe fn get_optional<'a>(self, name: &str) -> Result<Option<&'a str>> {
        // SAFETY: the caller's promise.
        Ok(Some(unsafe { self.get(name) }?).filter(|s| !s.is_empty()))
    }
}

/// Text that the library made. Free with mlxe_string_free().
pub struct mlxe_string_t {
    /// With a NUL behind the text.
    bytes: Vec<u8>,
}

impl mlxe_string_t {
    fn new(text: String) -> Box<Self> {
        let mut bytes = text.into_bytes();
        bytes.push(0);
        Box::new(mlxe_string_t { bytes })
    }
}

/// The text, UTF-8 with a NUL behind it. Borrowed: valid until the string is freed. NULL if `string` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_string_data(string: *const mlxe_string_t) -> *const c_char {
    // SAFETY: NULL or a live string, as documented.
    unsafe { string.as_ref() }.map_or(std::ptr::null(), |s| s.bytes.as_ptr().cast())
}

/// The length of the text in bytes, without the NUL; 0 if `string` is NULL. The text may contain NULs of its own.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_string_len(string: *const mlxe_string_t) -> usize {
    // SAFETY: NULL or a live string, as documented.
    unsafe { string.as_ref() }.map_or(0, |s| s.bytes.len() - 1)
}

/// Frees a string. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_string_free(string: *mut mlxe_string_t) {
    // SAFETY: NULL or an owned string, as documented.
    unsafe { free(string) }
}

/// Token ids that the library made. Free with mlxe_tokens_free().
pub struct mlxe_tokens_t {
    ids: Vec<u32>,
}

/// The ids. Borrowed: valid until the tokens are freed. NULL if `tokens` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokens_data(tokens: *const mlxe_tokens_t) -> *const u32 {
    // SAFETY: NULL or live tokens, as documented.
    unsafe { tokens.as_ref() }.map_or(std::ptr::null(), |t| t.ids.as_ptr())
}

/// How many ids there are; 0 if `tokens` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokens_len(tokens: *const mlxe_tokens_t) -> usize {
    // SAFETY: NULL or live tokens, as documented.
    unsafe { tokens.as_ref() }.map_or(0, |t| t.ids.len())
}

/// Frees tokens. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokens_free(tokens: *mut mlxe_tokens_t) {
    // SAFETY: NULL or owned tokens, as documented.
    unsafe { free(tokens) }
}

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

/// Frees what `Box::into_raw` gave out. A panic while freeing is swallowed: there is nobody to tell.
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

/// Text for the duration of a callback, with a NUL behind it. The buffer is used again.
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
