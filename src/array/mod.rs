//! The safe layer over mlx-c, and its only user.
//!
//! An [`Array`] is a reference-counted handle of a lazy MLX array. Operations build a graph and return immediately;
//! nothing is computed before [`eval`] (or [`async_eval`]). Every operation returns [`Result`], and `+ - * /` also
//! accept `Result`s on either side, so that formulas read like formulas and fail once, at the `?`.
//!
//! MLX's streams belong to the thread that made them, so arrays do too: [`Array`] is neither `Send` nor `Sync`, and the
//! [engine](crate::engine) owns the one thread where they live. [`set_device`] chooses where that thread computes.
//!
//! When evaluation fails, MLX reports it once; the arrays involved read back as garbage afterwards. After an error of
//! kind [`Mlx`](crate::ErrorKind::Mlx) the caller must drop them, as the engine's tasks do.

mod convert;
mod cpu;
mod cuda;
mod device;
mod devices;
mod dtype;
mod error;
mod exit;
mod fast;
pub mod fused;
mod host;
pub mod io;
pub mod mapping;
pub mod memory;
mod ops;
pub mod quant;
#[cfg(test)]
pub(crate) mod random;
pub(crate) mod sys;
pub mod system;
pub mod threads;

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

pub use convert::Element;
pub use device::{Device, device, set_device, synchronize};
pub use devices::{DeviceInfo, devices};
pub use dtype::Dtype;
pub use exit::before_exit;
pub use ops::{Operand, arange, concatenate, full, stack, zeros};

use crate::error::Result;
use error::check;

/// The MLX version that this build is for.
pub const MLX_VERSION: &str = "0.32.2";

/// Refuses an MLX that is not the one this build is for: where the process had loaded another `libmlx.so` before, the
/// dynamic linker takes that one.
///
/// # Errors
/// [`Mlx`](crate::error::ErrorKind::Mlx), naming both versions.
pub fn check_version() -> Result<()> {
    // SAFETY: an empty string that MLX fills, read before it is freed.
    let found = unsafe {
        let mut raw = sys::mlx_string_new();
        let code = sys::mlx_version(&mut raw);
        let text = sys::mlx_string_data(raw);
        let text = match text.is_null() {
            true => String::new(),
            false => std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned(),
        };
        sys::mlx_string_free(raw);
        check(code, "version")?;
        text
    };
    // A build of MLX from its sources adds the commit: 0.32.2+1a2b3c4.
    match found.split('+').next() == Some(MLX_VERSION) {
        true => Ok(()),
        false => Err(crate::error::Error::new(
            crate::error::ErrorKind::Mlx,
            format!(
                "this process has loaded MLX {found}, and MLXEngine needs {MLX_VERSION}: something else in it (Python's \
                 mlx, say) brought another libmlx"
            ),
        )),
    }
}

/// A lazy, immutable, n-dimensional array of MLX. Cloning shares it.
pub struct Array {
    raw: sys::mlx_array,
    // Not Send, not Sync: see the module documentation.
    _thread: PhantomData<*const ()>,
}

impl Array {
    /// Takes over the reference that `raw` holds.
    fn from_raw(raw: sys::mlx_array) -> Self {
        Array { raw, _thread: PhantomData }
    }

    /// The sizes of all axes.
    pub fn shape(&self) -> &[i32] {
        // SAFETY: the handle is valid; MLX keeps the shape as long as the array, which `self` keeps alive.
        unsafe {
            let rank = sys::mlx_array_ndim(self.raw);
            match rank {
                0 => &[],
                _ => std::slice::from_raw_parts(sys::mlx_array_shape(self.raw), rank),
            }
        }
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        // SAFETY: the handle is valid.
        unsafe { sys::mlx_array_ndim(self.raw) }
    }

    /// The size of one axis; negative axes count from the end.
    ///
    /// # Panics
    /// If there is no such axis, as indexing a slice does.
    #[track_caller]
    pub fn dim(&self, axis: i32) -> i32 {
        let shape = self.shape();
        let index = if axis < 0 { axis + shape.len() as i32 } else { axis };
        shape[index as usize]
    }

    /// The number of elements.
    pub fn size(&self) -> usize {
        // SAFETY: the handle is valid.
        unsafe { sys::mlx_array_size(self.raw) }
    }

    /// The size of all elements in bytes.
    pub fn nbytes(&self) -> usize {
        // SAFETY: the handle is valid.
        unsafe { sys::mlx_array_nbytes(self.raw) }
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        // SAFETY: the handle is valid.
        Dtype::from_raw(unsafe { sys::mlx_array_dtype(self.raw) })
    }

    /// Computes this array and waits for it.
    #[track_caller]
    pub fn eval(&self) -> Result<()> {
        // SAFETY: the handle is valid.
        check(unsafe { sys::mlx_array_eval(self.raw) }, "eval")
    }
}

impl Clone for Array {
    fn clone(&self) -> Self {
        // SAFETY: both handles are valid; this copies a reference. It can fail only when memory for a pointer is gone,
        // and then leaves an empty handle whose first use reports the error.
        unsafe {
            let mut raw = sys::mlx_array_new();
            sys::mlx_array_set(&mut raw, self.raw);
            Array::from_raw(raw)
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        // SAFETY: `self` owns the reference.
        unsafe { sys::mlx_array_free(self.raw) };
    }
}

impl std::fmt::Debug for Array {
    /// Shape and type only: printing values would compute them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Array({:?}, {:?})", self.shape(), self.dtype())
    }
}

/// Computes the arrays and waits for them.
#[track_caller]
pub fn eval<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    let arrays = ArrayVec::new(arrays)?;
    // SAFETY: the vector is valid.
    check(unsafe { sys::mlx_eval(arrays.raw) }, "eval")
}

/// Starts computing the arrays and returns immediately. A later [`eval`] or read waits for them.
#[track_caller]
pub fn async_eval<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    let arrays = ArrayVec::new(arrays)?;
    // SAFETY: the vector is valid.
    check(unsafe { sys::mlx_async_eval(arrays.raw) }, "async_eval")
}

/// mlx-c's vector of arrays.
struct ArrayVec {
    raw: sys::mlx_vector_array,
}

impl ArrayVec {
    #[track_caller]
    fn new<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<Self> {
        error::install_handler();
        let raw: Vec<sys::mlx_array> = arrays.into_iter().map(|a| a.raw).collect();
        // SAFETY: the slice is valid; MLX copies references out of it.
        let vec = ArrayVec { raw: unsafe { sys::mlx_vector_array_new_data(raw.as_ptr(), raw.len()) } };
        match vec.raw.ctx.is_null() {
            false => Ok(vec),
            true => Err(error::take("vector")),
        }
    }

    fn empty() -> Self {
        error::install_handler();
        // SAFETY: no arguments.
        ArrayVec { raw: unsafe { sys::mlx_vector_array_new() } }
    }

    #[track_caller]
    fn into_vec(self) -> Result<Vec<Array>> {
        // SAFETY: the vector is valid and the indices are in range.
        unsafe {
            (0..sys::mlx_vector_array_size(self.raw))
                .map(|i| {
                    let mut out = Out::new();
                    let rc = sys::mlx_vector_array_get(out.as_mut(), self.raw, i);
                    out.finish(rc, "vector_get")
                })
                .collect()
        }
    }
}

impl Drop for ArrayVec {
    fn drop(&mut self) {
        // SAFETY: `self` owns it.
        unsafe { sys::mlx_vector_array_free(self.raw) };
    }
}

/// The result slot of an mlx-c call: freed if the call fails, an [`Array`] if it succeeds.
struct Out(sys::mlx_array);

impl Out {
    fn new() -> Self {
        error::install_handler();
        // SAFETY: makes an empty handle.
        Out(unsafe { sys::mlx_array_new() })
    }

    fn as_mut(&mut self) -> *mut sys::mlx_array {
        &mut self.0
    }

    #[track_caller]
    fn finish(self, rc: std::ffi::c_int, what: &str) -> Result<Array> {
        check(rc, what)?;
        let this = ManuallyDrop::new(self);
        Ok(Array::from_raw(this.0))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // SAFETY: `self` owns the handle.
        unsafe { sys::mlx_array_free(self.0) };
    }
}
