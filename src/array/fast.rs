//! MLX's own fused operations, to which those of [`fused`](super::fused) fall.

use super::device::stream;
use super::fused::terms::mask::Mask;
use super::ops::{call, or_null};
use super::{Array, Out, sys};
use crate::error::Result;

/// `x / rms(x) * weight` over the last axis. Without a weight only normalised.
#[track_caller]
pub fn rms_norm(x: &Array, weight: Option<&Array>, eps: f32) -> Result<Array> {
    call!(mlx_fast_rms_norm(x.raw, or_null(weight), eps))
}

/// `(x - mean) / std * weight + bias` over the last axis.
#[track_caller]
pub fn layer_norm(x: &Array, weight: Option<&Array>, bias: Option<&Array>, eps: f32) -> Result<Array> {
    call!(mlx_fast_layer_norm(x.raw, or_null(weight), or_null(bias), eps))
}

/// How [`rope`] turns positions into angles.
#[derive(Clone, Copy, Debug)]
pub enum RopeBase<'a> {
    /// Powers of a base: pair `i` turns by `position / base^(2i / dims)`.
    Base(f32),
    /// Explicit wavelengths, one per pair: pair `i` turns by `position / freqs[i]`.
    Freqs(&'a Array),
}

impl<'a> RopeBase<'a> {
    fn raw(self) -> (sys::mlx_optional_float, Option<&'a Array>) {
        match self {
            RopeBase::Base(value) => (sys::mlx_optional_float { value, has_value: true }, None),
            RopeBase::Freqs(freqs) => (sys::mlx_optional_float { value: 0.0, has_value: false }, Some(freqs)),
        }
    }
}

/// Rotary position embedding of the first `dims` of the last axis; the axis before it is the position, starting at
/// `offset`. `interleaved` pairs neighbours (`traditional` in MLX), else element `i` is paired with `i + dims / 2`.
#[track_caller]
pub fn rope(x: &Array, dims: i32, interleaved: bool, base: RopeBase<'_>, scale: f32, offset: i32) -> Result<Array> {
    let (base, freqs) = base.raw();
    call!(mlx_fast_rope(x.raw, dims, interleaved, base, scale, offset, or_null(freqs)))
}

/// [`rope`] of `[batch, .., length, features]` where each sequence starts at its own of the `offsets`, i32 `[batch]`.
#[track_caller]
pub fn rope_at(
    x: &Array,
    dims: i32,
    interleaved: bool,
    base: RopeBase<'_>,
    scale: f32,
    offsets: &Array,
) -> Result<Array> {
    let (base, freqs) = base.raw();
    call!(mlx_fast_rope_dynamic(x.raw, dims, interleaved, base, scale, offsets.raw, or_null(freqs)))
}

/// `softmax(q k^T * scale + mask) v`. `queries` is `[batch, heads, length, dims]`, `keys` and `values`
/// `[batch, kv heads, kv length, dims]` with `heads` a multiple of `kv heads`; `sinks` `[heads]`.
#[track_caller]
pub fn scaled_dot_product_attention(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mask: &Mask,
    sinks: Option<&Array>,
) -> Result<Array> {
    let (mode, array) = match mask {
        Mask::None => (c"", None),
        Mask::Causal => (c"causal", None),
        Mask::Array(array) => (c"array", Some(array)),
    };
    call!(mlx_fast_scaled_dot_product_attention(
        queries.raw,
        keys.raw,
        values.raw,
        scale,
        mode.as_ptr(),
        or_null(array),
        or_null(sinks),
        false
    ))
}
