//! Structs that grow: the first field says how large the caller's is.

use crate::error::{Error, Result};

/// A struct of the API that begins with `struct_size` and only ever grows at its end.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize`, and every pattern of bytes that C can put into it is valid.
pub(super) unsafe trait Versioned: Copy {
    /// The size of the first published version.
    const FIRST_SIZE: usize;

    /// What fields have that the caller's version does not know.
    fn defaults() -> Self;
}

/// Copies the caller's struct over the defaults. NULL gives the defaults.
///
/// # Safety
/// `pointer` is NULL, or points to a struct as large as its `struct_size` says.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T, name: &str) -> Result<T> {
    let mut value = T::defaults();
    if pointer.is_null() {
        return Ok(value);
    }
    // SAFETY: the struct begins with its size.
    let theirs = unsafe { pointer.cast::<usize>().read() };
    let ours = std::mem::size_of::<T>();
    if theirs < T::FIRST_SIZE || theirs > 1 << 16 {
        return Err(Error::invalid_argument(format!(
            "{name}.struct_size is {theirs}; initialise the struct with its _init function"
        )));
    }
    // SAFETY: the caller's promise, for as many bytes as both have.
    let extra = unsafe {
        let bytes = std::slice::from_raw_parts(pointer.cast::<u8>(), theirs);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), theirs.min(ours));
        &bytes[theirs.min(ours)..]
    };
    // A newer caller may ask for what this version does not have; only silence is harmless.
    if extra.iter().any(|&b| b != 0) {
        return Err(Error::invalid_argument(format!("{name} sets options that this version does not have")));
    }
    Ok(value)
}
