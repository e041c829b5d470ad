//! Random numbers, from explicit keys, for tests.

use super::device::stream;
use super::ops::call;
use super::{Array, Dtype, Out, sys};
use crate::error::Result;

/// A key made from a seed. The same key always gives the same numbers.
#[track_caller]
pub fn key(seed: u64) -> Result<Array> {
    let mut out = Out::new();
    // SAFETY: the slot is valid.
    let rc = unsafe { sys::mlx_random_key(out.as_mut(), seed) };
    out.finish(rc, "random_key")
}

/// Normally distributed numbers of mean 0 and standard deviation `scale`.
#[track_caller]
pub fn normal(shape: &[i32], scale: f32, dtype: Dtype, key: &Array) -> Result<Array> {
    call!(mlx_random_normal(shape.as_ptr(), shape.len(), dtype.raw(), 0.0, scale, key.raw))
}
