//! Attention over given keys and values.

use super::terms::attention::{Past, Scores};
use super::terms::mask::{Mask, causal_mask};
use crate::array::fast::scaled_dot_product_attention;
use crate::array::quant::Quantized;
use crate::array::{Array, Dtype, concatenate, cpu, cuda};
use crate::error::{Error, Result};

/// `softmax(scores(q k^T)) v`. `q` is `[batch, heads, length, features]`, and so is the result; `k` and `v` are
/// `[batch, kv heads, positions, features]`.
#[track_caller]
pub fn attention(q: &Array, k: &Array, v: &Array, mask: &Mask, scores: &Scores) -> Result<Array> {
    let backends = || cpu::attention(q, Past::Plain(k), Past::Plain(v), scores, mask);
    if let Some(out) = cuda::attend_prompt(q, k, v, scores, mask).or_else(backends) {
        return out;
    }
    if scores.softcap.is_none() && !cpu::active() {
        let sinks = scores.sinks.as_ref().map(|sinks| sinks.astype(q.dtype())).transpose()?;
        return scaled_dot_product_attention(q, k, v, scores.scale, mask, sinks.as_ref());
    }
    let keys = k.expand_dims(2)?.swap_axes(-1, -2)?;
    let values = v.expand_dims(2)?;
    grouped(q, k.dim(1), k.dim(2), mask, scores, |q| q.matmul(&keys), |weights| weights.matmul(&values))
}

/// The same over keys and values that are quantized over their features, `[batch, kv heads, capacity, features]`, of
/// which the first `count` positions count.
#[track_caller]
pub fn attention_quantized(
    q: &Array,
    keys: &Quantized,
    values: &Quantized,
    count: i32,
    mask: &Mask,
    scores: &Scores,
) -> Result<Array> {
    let (k, v) = (Past::Quantized(keys, count), Past::Quantized(values, count));
    if let Some(out) = cpu::attention(q, k, v, scores, mask) {
        return out;
    }
    let (keys, values) = (first(keys, count)?, first(values, count)?);
    let kv_heads = keys.packed.dim(1);
    grouped(q, kv_heads, count, mask, scores, |q| keys.matmul_transposed(q), |weights| values.matmul(weights))
}

/// The first positions, with an axis for the heads of a group.
fn first(all: &Quantized, count: i32) -> Result<Quantized> {
    let part = |a: &Array| a.slice_axis(2, 0, count)?.expand_dims(2);
    Ok(Quantized {
        packed: part(&all.packed)?,
        scales: part(&all.scales)?,
        biases: all.biases.as_ref().map(part).transpose()?,
        scheme: all.scheme,
    })
}

/// Attention step by step: queries grouped by the key head they share, scores and weighted sums from closures that get
/// `[batch, kv heads, heads a group, length, ..]`.
fn grouped(
    q: &Array,
    kv_heads: i32,
    kv_length: i32,
    mask: &Mask,
    scores: &Scores,
    products: impl FnOnce(&Array) -> Result<Array>,
    weigh: impl FnOnce(&Array) -> Result<Array>,
) -> Result<Array> {
    let &[batch, heads, length, dim] = q.shape() else {
        return Err(Error::internal(format!("queries of shape {:?}", q.shape())));
    };
    let grouped = (q * scores.scale)?.reshape(&[batch, kv_heads, heads / kv_heads, length, dim])?;
    let mut s = products(&grouped)?;
    if let Some(cap) = scores.softcap {
        s = ((s / cap)?.tanh()? * cap)?;
    }
    let allowed = match mask {
        Mask::None => None,
        Mask::Causal => Some(causal_mask(length, kv_length - length, None)?),
        // [batch, heads, ..], where scores also have an axis for the heads of a group.
        Mask::Array(mask) if mask.ndim() == 4 => Some(mask.expand_dims(1)?),
        Mask::Array(mask) => Some(mask.clone()),
    };
    if let Some(allowed) = allowed {
        s = s.where_(&allowed, &Array::scalar(lowest(s.dtype()), s.dtype())?)?;
    }
    let weights = match &scores.sinks {
        None => s.softmax(-1, true)?,
        Some(sinks) => {
            let sinks = sinks.astype(s.dtype())?.reshape(&[1, kv_heads, heads / kv_heads, 1, 1])?;
            let sinks = sinks.broadcast_to(&[batch, kv_heads, heads / kv_heads, length, 1])?;
            concatenate([&s, &sinks], -1)?.softmax(-1, true)?.slice_axis(-1, 0, kv_length)?
        }
    };
    let out = weigh(&weights)?;
    out.reshape(&[batch, heads, length, out.dim(-1)])
}

/// The most negative finite number of a type.
fn lowest(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F16 => half::f16::MIN.to_f32(),
        Dtype::Bf16 => half::bf16::MIN.to_f32(),
        _ => f32::MIN,
    }
}
