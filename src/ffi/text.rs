//! Text and token ids that cross the border.

use std::ffi::c_char;

use super::{free, slice};
use crate::error::{Error, Result};

/// A string that the caller owns: UTF-8, not necessarily NUL-terminated. Valid during the call it is passed to.
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
    pub(super) const EMPTY: mlxe_str_t = mlxe_str_t { data: std::ptr::null(), len: 0 };

    /// The text, refused with the argument's name where it is not valid.
    ///
    /// # Safety
    /// `data` must point to `len` bytes that stay unchanged for `'a`.
    pub(super) unsafe fn get<'a>(self, name: &str) -> Result<&'a str> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice(self.data.cast::<u8>(), self.len, name) }?;
        std::str::from_utf8(bytes).map_err(|e| Error::invalid_argument(format!("{name} is not UTF-8: {e}")))
    }

    /// Like [`get`](Self::get); `None` if empty.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    pub(super) unsafe fn get_optional<'a>(self, name: &str) -> Result<Option<&'a str>> {
        // SAFETY: the caller's promise.
        Ok(Some(unsafe { self.get(name) }?).filter(|s| !s.is_empty()))
    }
}

/// A string returned by the library. Free with mlxe_string_free().
pub struct mlxe_string_t {
    /// NUL-terminated.
    bytes: Vec<u8>,
}

impl mlxe_string_t {
    pub(super) fn new(text: String) -> Box<Self> {
        Self::from_bytes(text.into_bytes())
    }

    pub(super) fn from_bytes(mut bytes: Vec<u8>) -> Box<Self> {
        bytes.push(0);
        Box::new(mlxe_string_t { bytes })
    }
}

/// The string, UTF-8 and NUL-terminated. Borrowed: valid until the string is freed. NULL if `string` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_string_data(string: *const mlxe_string_t) -> *const c_char {
    // SAFETY: NULL or a live string, as documented.
    unsafe { string.as_ref() }.map_or(std::ptr::null(), |s| s.bytes.as_ptr().cast())
}

/// The length in bytes, without the terminating NUL; 0 if `string` is NULL. The string may contain NULs.
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

/// Token ids returned by the library. Free with mlxe_tokens_free().
pub struct mlxe_tokens_t {
    pub(super) ids: Vec<u32>,
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
