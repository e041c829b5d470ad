//! Between arrays and Rust values.

use half::{bf16, f16};

use super::error::check;
use super::{Array, Dtype, Out, sys};
use crate::error::{Error, Result};

/// A Rust type that is also an element type of arrays.
pub trait Element: Copy + 'static {
    /// The array type of this Rust type.
    const DTYPE: Dtype;
}

macro_rules! element {
    ($($t:ty = $d:ident),+ $(,)?) => { $(impl Element for $t { const DTYPE: Dtype = Dtype::$d; })+ };
}

element! { bool = Bool, u8 = U8, u16 = U16, u32 = U32, u64 = U64, i8 = I8, i16 = I16, i32 = I32, i64 = I64,
f16 = F16, f32 = F32, bf16 = Bf16, f64 = F64 }

impl Array {
    /// An array with a copy of these values in row-major order.
    #[track_caller]
    pub fn from_slice<T: Element>(values: &[T], shape: &[i32]) -> Result<Array> {
        let want: i64 = shape.iter().map(|&n| i64::from(n)).product();
        if shape.iter().any(|&n| n < 0) || want != values.len() as i64 {
            return Err(Error::mlx(format!("{} values do not make an array of shape {shape:?}", values.len())));
        }
        // SAFETY: the data is as long as the shape says, checked above; MLX copies it.
        unsafe { Self::from_bytes(values.as_ptr().cast(), shape, T::DTYPE) }
    }

    /// An array without axes. The value is rounded to `dtype`.
    #[track_caller]
    pub fn scalar(value: f32, dtype: Dtype) -> Result<Array> {
        match dtype {
            Dtype::F32 => Self::from_slice(&[value], &[]),
            Dtype::F16 => Self::from_slice(&[f16::from_f32(value)], &[]),
            Dtype::Bf16 => Self::from_slice(&[bf16::from_f32(value)], &[]),
            Dtype::I32 => Self::from_slice(&[value as i32], &[]),
            Dtype::U32 => Self::from_slice(&[value as u32], &[]),
            _ => Self::from_slice(&[value], &[])?.astype(dtype),
        }
    }

    /// # Safety
    /// `data` must point to as many elements of `dtype` as `shape` says.
    #[track_caller]
    unsafe fn from_bytes(data: *const std::ffi::c_void, shape: &[i32], dtype: Dtype) -> Result<Array> {
        let mut out = Out::new();
        // SAFETY: the caller's promise; the slot is valid.
        let rc =
            unsafe { sys::mlx_array_set_data(out.as_mut(), data, shape.as_ptr(), shape.len() as i32, dtype.raw()) };
        out.finish(rc, "array")
    }

    /// Computes the array and copies its elements out in row-major order. `T` must be its type.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.read(|values| values.to_vec())
    }

    /// Computes the array and lets `f` see its elements in row-major order. `T` must be its type.
    #[track_caller]
    pub fn read<T: Element, R>(&self, f: impl FnOnce(&[T]) -> R) -> Result<R> {
        if self.dtype() != T::DTYPE {
            return Err(Error::mlx(format!("{self:?} read as {}", T::DTYPE)));
        }
        self.eval()?;
        // Only where it must be: a copy would wait for whatever else the stream does by now.
        let dense = if self.is_row_major()? { self.clone() } else { self.contiguous()? };
        dense.eval()?;
        let size = dense.size();
        if size == 0 {
            return Ok(f(&[]));
        }
        // SAFETY: evaluated, contiguous, of this type and size, and alive for the call. All these getters return the
        // same pointer; the type in the name is only a cast.
        let data = unsafe { sys::mlx_array_data_uint8(dense.raw) };
        if data.is_null() {
            return Err(Error::mlx(format!("{self:?} has no data after it was computed")));
        }
        // SAFETY: as above.
        Ok(f(unsafe { std::slice::from_raw_parts(data.cast::<T>(), size) }))
    }

    /// Whether it is computed.
    #[cfg(not(target_vendor = "apple"))]
    pub(super) fn is_available(&self) -> bool {
        let mut available = false;
        // SAFETY: the handle is valid, and `available` outlives the call.
        unsafe { sys::_mlx_array_is_available(&mut available, self.raw) == 0 && available }
    }

    /// Whether the elements lie in row-major order, of an array that is computed.
    fn is_row_major(&self) -> Result<bool> {
        let mut dense = false;
        // SAFETY: the handle is valid, and `dense` outlives the call.
        check(unsafe { sys::_mlx_array_is_row_contiguous(&mut dense, self.raw) }, "is_row_contiguous")?;
        Ok(dense)
    }
}
