//! Structs that grow: the first field says how large the caller's is.

use crate::error::{Error, Result};

/// A struct of the API that begins with `struct_size` and only ever grows at its end.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize`, and every pattern of bytes that C can put into it is valid.
pub(super) unsafe trait Versioned: Copy {
    /// The size of the first published version.
    const FIRST_SIZE: usize;

    /// How the caller gets the size right.
    const SET_UP: &str = "initialise the struct with its _init function and sizeof";

    /// What fields have that the caller's version does not know.
    fn defaults() -> Self;
}

/// No struct of the API is larger: a size beyond it is no size.
const MAX_SIZE: usize = 1 << 16;

/// Writes the defaults to a struct of the caller's version and notes its size. What this version does not know becomes
/// zero, which asks for nothing. Of a struct whose size cannot be right only the size is written, so that [`read`]
/// refuses it.
///
/// # Safety
/// `place` is NULL, or points to `size` bytes.
pub(super) unsafe fn init<T: Versioned>(place: *mut T, size: usize) {
    if place.is_null() || size < size_of::<usize>() {
        return;
    }
    let place = place.cast::<u8>();
    if (T::FIRST_SIZE..=MAX_SIZE).contains(&size) {
        let ours = size.min(size_of::<T>());
        let defaults = T::defaults();
        // SAFETY: the caller's promise; `ours` is no more than either struct has.
        unsafe {
            place.copy_from_nonoverlapping((&raw const defaults).cast(), ours);
            place.add(ours).write_bytes(0, size - ours);
        }
    }
    // SAFETY: the caller's promise; the struct begins with its size.
    unsafe { place.cast::<usize>().write(size) }
}

/// Fills the caller's struct, as far as it knows the fields.
///
/// # Safety
/// `place` is NULL, or points to a struct as large as its `struct_size` says.
pub(super) unsafe fn write<T: Versioned>(place: *mut T, value: &T, name: &str) -> Result<()> {
    if place.is_null() {
        return Err(Error::invalid_argument(format!("{name} is NULL")));
    }
    // SAFETY: the struct begins with its size.
    let size = unsafe { place.cast::<usize>().read() };
    if !(T::FIRST_SIZE..=MAX_SIZE).contains(&size) {
        return Err(Error::invalid_argument(format!("{name}.struct_size is {size}; {}", T::SET_UP)));
    }
    // SAFETY: the caller's promise, for as many bytes as both have; the size stays the caller's.
    unsafe {
        place.cast::<u8>().copy_from_nonoverlapping((&raw const *value).cast(), size.min(size_of::<T>()));
        place.cast::<usize>().write(size);
    }
    Ok(())
}

/// Copies the caller's struct over the defaults. NULL gives the defaults.
///
/// # Safety
/// `pointer` is NULL, or points to a struct as large as its `struct_size` says.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T, name: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let (value, rest) = unsafe { read_known(pointer, name) }?;
    rest.map(|()| value)
}

/// Like [`read`], but also gives what this version knows of a struct that asks for more: callbacks that are rejected
/// still have to be dropped.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn read_known<T: Versioned>(pointer: *const T, name: &str) -> Result<(T, Result<()>)> {
    let mut value = T::defaults();
    if pointer.is_null() {
        return Ok((value, Ok(())));
    }
    // SAFETY: the struct begins with its size.
    let theirs = unsafe { pointer.cast::<usize>().read() };
    let ours = std::mem::size_of::<T>();
    if theirs < T::FIRST_SIZE || theirs > MAX_SIZE {
        return Err(Error::invalid_argument(format!("{name}.struct_size is {theirs}; {}", T::SET_UP)));
    }
    // SAFETY: the caller's promise, for as many bytes as both have.
    let extra = unsafe {
        let bytes = std::slice::from_raw_parts(pointer.cast::<u8>(), theirs);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), theirs.min(ours));
        &bytes[theirs.min(ours)..]
    };
    // A newer caller may ask for what this version does not have; only silence is harmless.
    let rest = match extra.iter().any(|&b| b != 0) {
        true => Err(Error::invalid_argument(format!("{name} sets fields that this version does not have"))),
        false => Ok(()),
    };
    Ok((value, rest))
}
