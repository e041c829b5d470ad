//! Attention over keys and values.

use super::causal_mask;
use crate::array::cpu::Remembered;
use crate::array::fast::{Mask, scaled_dot_product_attention};
use crate::array::{Array, Dtype, cpu, cuda};
use crate::error::Result;

/// What attention needs beside its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionParams {
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
}

/// Whether each sequence has a mask of its own: the CPU kernels know one for all.
pub(super) fn differs_by_sequence(mask: &Mask) -> bool {
    matches!(mask, Mask::Array(mask) if mask.ndim() > 2)
}

/// Attention with plain keys and values, `[batch, kv heads, positions, features]`, fused where MLX can. Queries are
/// `[batch, heads, length, features]`.
pub fn attend(q: &Array, k: &Array, v: &Array, mask: &Mask, params: &AttentionParams) -> Result<Array> {
    if cpu::active() && !differs_by_sequence(mask) {
        let (keys, values) = (Remembered::Plain(k), Remembered::Plain(v));
        return cpu::attention(q, keys, values, params.scale, params.softcap, mask);
    }
    if let Some(out) = cuda::attend_prompt(q, k, v, params.scale, params.softcap, mask) {
        return out;
    }
    if params.softcap.is_none() && !cpu::active() {
        return scaled_dot_product_attention(q, k, v, params.scale, mask, None);
    }
    let keys = k.expand_dims(2)?.swap_axes(-1, -2)?;
    let values = v.expand_dims(2)?;
    grouped(q, k.dim(1), k.dim(2), mask, params, |q| q.matmul(&keys), |weights| weights.matmul(&values))
}

/// Attention step by step: queries grouped by the key head they share, scores and weighted sums from closures that get
/// `[batch, kv heads, heads a group, length, ..]`.
pub(super) fn grouped(
    q: &Array,
    kv_heads: i32,
    kv_length: i32,
    mask: &Mask,
    params: &AttentionParams,
    scores: impl FnOnce(&Array) -> Result<Array>,
    weigh: impl FnOnce(&Array) -> Result<Array>,
) -> Result<Array> {
    let &[batch, heads, length, dim] = q.shape() else {
        return Err(crate::Error::internal(format!("queries of shape {:?}", q.shape())));
    };
    let grouped = (q * params.scale)?.reshape(&[batch, kv_heads, heads / kv_heads, length, dim])?;
    let mut s = scores(&grouped)?;
    if let Some(cap) = params.softcap {
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
    let out = weigh(&s.softmax(-1, true)?)?;
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
