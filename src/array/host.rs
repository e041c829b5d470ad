//! Operations whose work is done by Rust functions on the CPU, and arrays over memory that is not MLX's.
//!
//! The other side is `native/host.cpp`: an MLX primitive that hands evaluated buffers to a function. It exists where
//! `build.rs` compiles it, not on Apple, where MLX's own CPU back end is a good one.

use mlx_engine_kernels::{Bf16, F16, Floats, FloatsMut};

use super::{Array, Dtype};
use crate::error::Result;

/// An evaluated array as an operation sees it.
pub(super) struct View<'a> {
    data: *mut u8,
    shape: &'a [i32],
    strides: &'a [i64],
    dtype: Dtype,
}

/// Numbers of an array in row-major order: its own, or a copy where it is not.
pub(super) enum Held<'a> {
    Here(Floats<'a>),
    F32(Vec<f32>),
    F16(Vec<F16>),
    Bf16(Vec<Bf16>),
}

impl Held<'_> {
    pub fn get(&self) -> Floats<'_> {
        match self {
            Held::Here(f) => *f,
            Held::F32(v) => Floats::F32(v),
            Held::F16(v) => Floats::F16(v),
            Held::Bf16(v) => Floats::Bf16(v),
        }
    }
}

impl<'a> View<'a> {
    pub fn dim(&self, i: usize) -> usize {
        self.shape[i] as usize
    }

    /// Of all axes but the last.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(0, |(_, rows)| rows.iter().map(|&n| n as usize).product())
    }

    pub fn stride(&self, i: usize) -> usize {
        self.strides[i] as usize
    }

    pub fn len(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(self.strides).rev().all(|(&n, &stride)| {
            let fits = n == 1 || stride == expected;
            expected *= i64::from(n);
            fits
        })
    }

    /// Elements from the first one up to the last one that the strides reach.
    fn span(&self) -> usize {
        match self.len() {
            0 => 0,
            _ => 1 + self.shape.iter().zip(self.strides).map(|(&n, &s)| (n as usize - 1) * s as usize).sum::<usize>(),
        }
    }

    /// # Safety
    /// `T` is the Rust type of `dtype`, and the array is not written to meanwhile.
    unsafe fn slice<T>(&self, len: usize) -> &'a [T] {
        match len {
            0 => &[],
            // SAFETY: MLX's buffer holds what shape and strides reach; the caller vouches for the rest.
            _ => unsafe { std::slice::from_raw_parts(self.data.cast(), len) },
        }
    }

    /// All memory from the first to the last element, whatever the strides.
    pub fn spanned(&self) -> Floats<'a> {
        let n = self.span();
        // SAFETY: the type is matched; operations never write to what they read, but for cache buffers (`bytes_mut`),
        // which are read through this after the write.
        unsafe {
            match self.dtype {
                Dtype::F32 => Floats::F32(self.slice(n)),
                Dtype::F16 => Floats::F16(self.slice(n)),
                Dtype::Bf16 => Floats::Bf16(self.slice(n)),
                other => panic!("{other} where floating-point numbers are needed"),
            }
        }
    }

    /// The elements in row-major order.
    pub fn floats(&self) -> Held<'a> {
        let all = self.spanned();
        if self.is_contiguous() {
            return Held::Here(all);
        }
        match all {
            Floats::F32(v) => Held::F32(self.gathered(v)),
            Floats::F16(v) => Held::F16(self.gathered(v)),
            Floats::Bf16(v) => Held::Bf16(self.gathered(v)),
        }
    }

    fn gathered<T: Copy>(&self, from: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(self.len());
        let (Some((&inner, outer)), Some(&step)) = (self.shape.split_last(), self.strides.last()) else {
            return from.to_vec();
        };
        let mut index = vec![0; outer.len()];
        for _ in 0..self.len() / (inner as usize).max(1) {
            let at: usize = index.iter().zip(self.strides).map(|(i, s)| i * *s as usize).sum();
            out.extend((0..inner as usize).map(|i| from[at + i * step as usize]));
            for (i, &n) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                if *i < n as usize {
                    break;
                }
                *i = 0;
            }
        }
        out
    }

    /// The bytes of a row-major array of integers or booleans.
    pub fn bytes(&self) -> &'a [u8] {
        assert!(self.is_contiguous(), "codes are stored row by row");
        // SAFETY: any memory may be read as bytes.
        unsafe { self.slice(self.len() * self.dtype.size()) }
    }

    /// The bytes of `n` elements of an array of four axes that lie side by side from the first one at `index` of the
    /// others on.
    pub fn run(&self, index: [usize; 3], n: usize) -> &'a [u8] {
        assert!(self.shape.len() == 4 && (self.dim(3) == 1 || self.stride(3) == 1), "features lie side by side");
        let at: usize = index.iter().enumerate().map(|(axis, i)| i * self.stride(axis)).sum();
        assert!(at + n <= self.span(), "within the array");
        let size = self.dtype.size();
        // SAFETY: any memory may be read as bytes, and these are within what shape and strides reach.
        let all: &[u8] = unsafe { self.slice((at + n) * size) };
        &all[at * size..]
    }

    /// The elements of a row-major array of u32.
    pub fn integers(&self) -> &'a [u32] {
        assert!(self.is_contiguous() && self.dtype == Dtype::U32, "indices");
        // SAFETY: the type was checked.
        unsafe { self.slice(self.len()) }
    }

    /// The elements of an array of booleans in row-major order.
    pub fn booleans(&self) -> Vec<bool> {
        assert!(self.dtype == Dtype::Bool, "a mask");
        // SAFETY: the type was checked; MLX's booleans are bytes of 0 or 1.
        self.gathered(unsafe { self.slice::<bool>(self.span()) })
    }

    /// Memory to write numbers to.
    ///
    /// # Safety
    /// The array's memory is not otherwise used while the result lives: it is an output of the running
    /// operation, or a buffer that only operations of one chain use.
    pub unsafe fn floats_mut(&self) -> FloatsMut<'a> {
        assert!(self.is_contiguous(), "results are stored row by row");
        let n = self.len();
        if n == 0 {
            return FloatsMut::F32(&mut []);
        }
        // SAFETY: the type is matched, the size is the array's, and the caller vouches for exclusive use.
        unsafe {
            match self.dtype {
                Dtype::F32 => FloatsMut::F32(std::slice::from_raw_parts_mut(self.data.cast(), n)),
                Dtype::F16 => FloatsMut::F16(std::slice::from_raw_parts_mut(self.data.cast(), n)),
                Dtype::Bf16 => FloatsMut::Bf16(std::slice::from_raw_parts_mut(self.data.cast(), n)),
                other => panic!("{other} where floating-point numbers are needed"),
            }
        }
    }

    /// # Safety
    /// As for [`View::floats_mut`].
    pub unsafe fn bytes_mut(&self) -> &'a mut [u8] {
        assert!(self.is_contiguous(), "results are stored row by row");
        match self.len() {
            0 => &mut [],
            // SAFETY: the size is the array's, and the caller vouches for exclusive use.
            n => unsafe { std::slice::from_raw_parts_mut(self.data, n * self.dtype.size()) },
        }
    }
}

/// What an operation does: inputs, then outputs, whose memory is its own and row-major. Runs on a worker thread of MLX.
pub(super) type Work = Box<dyn Fn(&[View<'_>], &[View<'_>]) + Send + Sync>;

/// Shape and type of a result.
pub(super) type Output<'a> = (&'a [i32], Dtype);

#[cfg(target_vendor = "apple")]
mod native {
    use super::*;
    use crate::error::Error;

    pub fn available() -> bool {
        false
    }

    pub fn operation(_: &[&Array], _: &[Output<'_>], _: Work) -> Result<Vec<Array>> {
        Err(Error::internal("kernels of the host are not part of this build"))
    }

    /// # Safety
    /// None here.
    pub unsafe fn over(_: *mut u8, _: &[i32], _: Dtype, _: Box<dyn Send>) -> Result<Option<Array>> {
        Ok(None)
    }
}

#[cfg(not(target_vendor = "apple"))]
mod native {
    use std::ffi::{c_int, c_void};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::device::{self, Device};
    use super::super::error::check;
    use super::super::{ArrayVec, Out, sys};
    use super::*;

    /// `mlxe_buffer` of native/host.cpp.
    #[repr(C)]
    struct Buffer {
        data: *mut c_void,
        shape: *const i32,
        strides: *const i64,
        rank: i32,
        dtype: sys::mlx_dtype,
    }

    type Run = unsafe extern "C" fn(*mut c_void, *const Buffer, usize, *const Buffer, usize) -> c_int;
    type Free = unsafe extern "C" fn(*mut c_void);

    unsafe extern "C" {
        fn mlxe_host_op(
            result: *mut sys::mlx_vector_array,
            inputs: *const sys::mlx_array,
            n_inputs: usize,
            shapes: *const i32,
            ranks: *const usize,
            dtypes: *const sys::mlx_dtype,
            n_outputs: usize,
            data: *mut c_void,
            run: Run,
            drop: Free,
            stream: sys::mlx_stream,
        ) -> c_int;

        fn mlxe_array_over(
            result: *mut sys::mlx_array,
            bytes: *mut c_void,
            shape: *const i32,
            rank: usize,
            dtype: sys::mlx_dtype,
            context: *mut c_void,
            drop: Free,
        ) -> c_int;
    }

    /// Whether this thread's operations run on the CPU, where [`operation`] may be used.
    pub fn available() -> bool {
        device::device() == Device::Cpu
    }

    unsafe extern "C" fn run(
        work: *mut c_void,
        ins: *const Buffer,
        n_ins: usize,
        outs: *const Buffer,
        n_outs: usize,
    ) -> c_int {
        // SAFETY: native/host.cpp passes what `operation` gave it, and buffers of evaluated arrays.
        let (work, ins, outs) = unsafe { (&*work.cast::<Work>(), views(ins, n_ins), views(outs, n_outs)) };
        match catch_unwind(AssertUnwindSafe(|| work(&ins, &outs))) {
            Ok(()) => 0,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                log::error!("a CPU kernel failed: {}", text.or(panic.downcast_ref().copied()).unwrap_or("panic"));
                1
            }
        }
    }

    unsafe fn views<'a>(buffers: *const Buffer, n: usize) -> Vec<View<'a>> {
        // SAFETY: `n` buffers with `rank` sizes and strides each, from native/host.cpp.
        unsafe {
            (0..n)
                .map(|i| {
                    let b = &*buffers.add(i);
                    let (shape, strides): (&[i32], &[i64]) = match b.rank as usize {
                        0 => (&[], &[]),
                        n => (std::slice::from_raw_parts(b.shape, n), std::slice::from_raw_parts(b.strides, n)),
                    };
                    View { data: b.data.cast(), shape, strides, dtype: Dtype::from_raw(b.dtype) }
                })
                .collect()
        }
    }

    unsafe extern "C" fn free<T>(context: *mut c_void) {
        // SAFETY: a `Box<T>` given away in `operation` or `over`, and called once.
        drop(unsafe { Box::from_raw(context.cast::<T>()) });
    }

    /// Lazy results of `work`.
    #[track_caller]
    pub fn operation(inputs: &[&Array], outputs: &[Output<'_>], work: Work) -> Result<Vec<Array>> {
        let raw: Vec<sys::mlx_array> = inputs.iter().map(|a| a.raw).collect();
        let shapes: Vec<i32> = outputs.iter().flat_map(|(shape, _)| shape.iter().copied()).collect();
        let ranks: Vec<usize> = outputs.iter().map(|(shape, _)| shape.len()).collect();
        let dtypes: Vec<sys::mlx_dtype> = outputs.iter().map(|(_, dtype)| dtype.raw()).collect();
        let mut out = ArrayVec::empty();
        let work = Box::into_raw(Box::new(work));
        // SAFETY: the slices are valid for the call, which takes over `work` whether it succeeds or not.
        let rc = unsafe {
            mlxe_host_op(
                &mut out.raw,
                raw.as_ptr(),
                raw.len(),
                shapes.as_ptr(),
                ranks.as_ptr(),
                dtypes.as_ptr(),
                outputs.len(),
                work.cast(),
                run,
                free::<Work>,
                device::stream(),
            )
        };
        check(rc, "host operation")?;
        out.into_vec()
    }

    /// An array over memory that `owner` keeps. `None` where this MLX cannot have such arrays.
    ///
    /// # Safety
    /// `data` is aligned for `dtype` and holds what `shape` says, unchanged as long as `owner` lives; the eight bytes
    /// before it are readable.
    pub unsafe fn over(data: *mut u8, shape: &[i32], dtype: Dtype, owner: Box<dyn Send>) -> Result<Option<Array>> {
        let mut out = Out::new();
        let owner = Box::into_raw(Box::new(owner)).cast();
        let drop = free::<Box<dyn Send>>;
        // SAFETY: the caller's promise; the call takes over `owner` unless it returns 2.
        let rc = unsafe {
            mlxe_array_over(out.as_mut(), data.cast(), shape.as_ptr(), shape.len(), dtype.raw(), owner, drop)
        };
        if rc == 2 {
            // SAFETY: it was left alone.
            unsafe { drop(owner) };
            return Ok(None);
        }
        out.finish(rc, "array over memory").map(Some)
    }
}

pub(super) use native::{available, operation, over};
