//! Random numbers, from explicit keys.

use super::device::stream;
use super::error::check;
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

/// Two independent keys from one.
#[track_caller]
pub fn split(key: &Array) -> Result<(Array, Array)> {
    let (mut a, mut b) = (Out::new(), Out::new());
    // SAFETY: the handles are valid.
    let rc = unsafe { sys::mlx_random_split(a.as_mut(), b.as_mut(), key.raw, stream()) };
    check(rc, "random_split")?;
    Ok((a.finish(0, "random_split")?, b.finish(0, "random_split")?))
}

/// Positions drawn along `axis` with probabilities `softmax(logits)`, as u32.
#[track_caller]
pub fn categorical(logits: &Array, axis: i32, key: &Array) -> Result<Array> {
    call!(mlx_random_categorical(logits.raw, axis, key.raw))
}

/// Normally distributed numbers of mean 0 and standard deviation `scale`.
#[track_caller]
pub fn normal(shape: &[i32], scale: f32, dtype: Dtype, key: &Array) -> Result<Array> {
    call!(mlx_random_normal(shape.as_ptr(), shape.len(), dtype.raw(), 0.0, scale, key.raw))
}
