//! Errors as objects.

use std::ffi::{CString, c_char};

use crate::error::{Error, ErrorKind};

/// An error: a code, and a message for people. Owned by the caller that receives it; free with mlxe_error_free().
#[derive(Clone)]
pub struct mlxe_error_t {
    code: i32,
    message: CString,
    summary: CString,
}

impl mlxe_error_t {
    pub(super) fn new(error: &Error) -> Self {
        let text = |text: String| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        mlxe_error_t { code: error.kind().code(), message: text(error.to_string()), summary: text(error.summary()) }
    }

    /// The error that this one was made of, as far as C keeps it.
    pub(super) fn to_error(&self) -> Error {
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.code() == self.code).unwrap_or(ErrorKind::Internal);
        Error::new(kind, self.message.to_string_lossy())
    }

    pub(super) fn into_raw(error: Error) -> *mut Self {
        Box::into_raw(Box::new(Self::new(&error)))
    }
}

/// No error: functions return NULL, whose mlxe_error_code() is this.
pub const MLXE_OK: i32 = 0;
/// An argument is missing, malformed or out of range.
pub const MLXE_ERROR_INVALID_ARGUMENT: i32 = 1;
/// A file (weights included), directory, model or other named object does not exist.
pub const MLXE_ERROR_NOT_FOUND: i32 = 2;
/// The operating system refused to read, write or create something.
pub const MLXE_ERROR_IO: i32 = 3;
/// config.json or another JSON file of a model is malformed or contradicts itself.
pub const MLXE_ERROR_INVALID_CONFIG: i32 = 4;
/// The model_type, or a feature that a model needs, is not supported.
pub const MLXE_ERROR_UNSUPPORTED_MODEL: i32 = 5;
/// Weight files are broken, truncated or overlapping, lack tensors, or do not fit the model.
pub const MLXE_ERROR_INVALID_WEIGHTS: i32 = 6;
/// A tokenizer cannot be read, or text cannot be encoded or decoded.
pub const MLXE_ERROR_TOKENIZER: i32 = 7;
/// A chat template is missing, malformed, or refused the messages it was given.
pub const MLXE_ERROR_TEMPLATE: i32 = 8;
/// MLX reported an error.
pub const MLXE_ERROR_MLX: i32 = 9;
/// Device or host memory ran out.
pub const MLXE_ERROR_OUT_OF_MEMORY: i32 = 10;
/// The work was cancelled.
pub const MLXE_ERROR_CANCELLED: i32 = 11;
/// A blocking call was made inside a callback, where it could deadlock.
pub const MLXE_ERROR_REENTRANT: i32 = 12;
/// A panic was caught at the library's boundary. This is a bug in the library.
pub const MLXE_ERROR_PANIC: i32 = 13;
/// The handle was in use when a panic was caught and can no longer be trusted.
pub const MLXE_ERROR_POISONED: i32 = 14;
/// The network or a server failed.
pub const MLXE_ERROR_NETWORK: i32 = 15;
/// The prompt does not fit the model's context.
pub const MLXE_ERROR_CONTEXT_FULL: i32 = 16;
/// An invariant of the library did not hold. This is a bug in the library.
pub const MLXE_ERROR_INTERNAL: i32 = 17;
/// A server requires a token, or the token's account has no access.
pub const MLXE_ERROR_ACCESS_DENIED: i32 = 18;
/// The disk is full.
pub const MLXE_ERROR_DISK_FULL: i32 = 19;
/// The same model is in use by other work, in this process or another.
pub const MLXE_ERROR_BUSY: i32 = 20;
/// The process was forked from one that had made this handle, or an engine; neither can be used here.
pub const MLXE_ERROR_FORKED: i32 = 21;

/// The error's code, one of MLXE_ERROR_*; MLXE_OK if `error` is NULL. Later versions may have more codes.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_error_code(error: *const mlxe_error_t) -> i32 {
    // SAFETY: NULL or a live error, as documented.
    unsafe { error.as_ref() }.map_or(MLXE_OK, |e| e.code)
}

/// The error's message: UTF-8, NUL-terminated, names the file, key or value at fault. Borrowed: valid until the error
/// is freed. The empty string if `error` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_error_message(error: *const mlxe_error_t) -> *const c_char {
    // SAFETY: NULL or a live error, as documented.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |e| e.message.as_ptr())
}

/// Another error with the same code and message, for keeping one that is borrowed; the caller owns it. NULL if `error` is
/// NULL.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_error_clone(error: *const mlxe_error_t) -> *mut mlxe_error_t {
    // SAFETY: NULL or a live error, as documented.
    match unsafe { error.as_ref() } {
        Some(error) => Box::into_raw(Box::new(error.clone())),
        None => std::ptr::null_mut(),
    }
}

/// Makes the name of each code, and a list of them.
macro_rules! names {
    ($($code:ident),+ $(,)?) => {
        fn name_of(code: i32) -> &'static std::ffi::CStr {
            match code {
                $($code => {
                    const NAME: &str = concat!(stringify!($code), "\0");
                    std::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()).unwrap_or_default()
                })+
                _ => c"unknown",
            }
        }
    };
}

names!(
    MLXE_OK,
    MLXE_ERROR_INVALID_ARGUMENT,
    MLXE_ERROR_NOT_FOUND,
    MLXE_ERROR_IO,
    MLXE_ERROR_INVALID_CONFIG,
    MLXE_ERROR_UNSUPPORTED_MODEL,
    MLXE_ERROR_INVALID_WEIGHTS,
    MLXE_ERROR_TOKENIZER,
    MLXE_ERROR_TEMPLATE,
    MLXE_ERROR_MLX,
    MLXE_ERROR_OUT_OF_MEMORY,
    MLXE_ERROR_CANCELLED,
    MLXE_ERROR_REENTRANT,
    MLXE_ERROR_PANIC,
    MLXE_ERROR_POISONED,
    MLXE_ERROR_NETWORK,
    MLXE_ERROR_CONTEXT_FULL,
    MLXE_ERROR_INTERNAL,
    MLXE_ERROR_ACCESS_DENIED,
    MLXE_ERROR_DISK_FULL,
    MLXE_ERROR_BUSY,
    MLXE_ERROR_FORKED,
);

/// The name of a code as this header spells it, such as "MLXE_ERROR_NOT_FOUND"; "MLXE_OK" for MLXE_OK, "unknown" for a
/// code that this version does not have. Static; do not free.
///
/// Any thread, also in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_error_name(code: i32) -> *const c_char {
    name_of(code).as_ptr()
}

/// The error's message in brief, for a screen with little room: of several problems the first one, at most 201
/// characters. Borrowed: valid until the error is freed. The empty string if `error` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_error_summary(error: *const mlxe_error_t) -> *const c_char {
    // SAFETY: NULL or a live error, as documented.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |e| e.summary.as_ptr())
}

/// Frees an error. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_error_free(error: *mut mlxe_error_t) {
    // SAFETY: NULL or an owned error, as documented.
    unsafe { super::free(error) }
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;

    /// Each kind has its constant, spelt in the same way.
    #[test]
    fn constants_match_kinds() {
        let source = include_str!("error.rs");
        for kind in ErrorKind::ALL {
            let mut name = String::new();
            for c in format!("{kind:?}").chars() {
                if c.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(c.to_ascii_uppercase());
            }
            let line = format!("pub const MLXE_ERROR{name}: i32 = {};", kind.code());
            assert!(source.contains(&line), "{line}");
            assert_eq!(super::name_of(kind.code()).to_str().unwrap(), format!("MLXE_ERROR{name}"));
        }
    }
}
