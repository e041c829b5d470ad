//! Softmax attention of the decoder.

use super::spec::{AttentionBias, AttentionSpec, HeadWeights, Projection, QkNorm};
use crate::array::fast::{Mask, layer_norm};
use crate::array::{Array, stack};
use crate::cache::{AttentionParams, LayerCache};
use crate::error::Result;
use crate::nn::{Linear, Norm, Rope};
use crate::weights::Weights;

pub struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    projections: Projections,
    output: Linear,
    norms: QkNorms,
    rope: Option<Rope>,
    params: AttentionParams,
}

enum Projections {
    Separate { q: Linear, k: Linear, v: Linear },
    Fused(Linear),
}

enum QkNorms {
    None,
    Head { q: Norm, k: Norm },
    Projection { q: Norm, k: Norm },
    EachHead { q: Array, k: Array, eps: f32 },
}

impl Attention {
    pub fn load(spec: &AttentionSpec, hidden: i32, path: &str, w: &Weights) -> Result<Attention> {
        let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
        let bias = spec.bias != AttentionBias::None;
        let linear =
            |name: &str, heads: i32| Linear::load(w, &format!("{path}.{name}"), hidden, heads * head_dim, bias);
        let projections = match spec.qkv {
            Projection::Separate => Projections::Separate {
                q: linear("q_proj", heads)?,
                k: linear("k_proj", kv_heads)?,
                v: linear("v_proj", kv_heads)?,
            },
            Projection::Fused => Projections::Fused(linear("qkv_proj", heads + 2 * kv_heads)?),
        };
        let norm = |name: &str, size: i32, spec| Norm::load(w, &format!("{path}.{name}"), size, spec);
        let norms = match spec.qk_norm {
            QkNorm::None => QkNorms::None,
            QkNorm::Head(n) => QkNorms::Head { q: norm("q_norm", head_dim, n)?, k: norm("k_norm", head_dim, n)? },
            QkNorm::Projection(n) => QkNorms::Projection {
                q: norm("q_norm", heads * head_dim, n)?,
                k: norm("k_norm", kv_heads * head_dim, n)?,
            },
            QkNorm::EachHead { eps, weights } => QkNorms::EachHead {
                q: head_weights(w, path, "q", heads, head_dim, weights)?,
                k: head_weights(w, path, "k", kv_heads, head_dim, weights)?,
                eps,
            },
        };
        Ok(Attention {
            heads,
            kv_heads,
            head_dim,
            projections,
            output: Linear::load(
                w,
                &format!("{path}.o_proj"),
                heads * head_dim,
                hidden,
                spec.bias == AttentionBias::All,
            )?,
            norms,
            rope: spec.rope.as_ref().map(Rope::new).transpose()?,
            params: AttentionParams { scale: spec.scale, softcap: spec.softcap },
        })
    }

    /// `x` is `[batch, length, hidden]`, and so is the result.
    pub fn forward(&self, x: &Array, mask: &Mask, cache: &mut LayerCache) -> Result<Array> {
        let (batch, length) = (x.dim(0), x.dim(1));
        let (mut q, mut k, v) = match &self.projections {
            Projections::Separate { q, k, v } => (q.forward(x)?, k.forward(x)?, v.forward(x)?),
            Projections::Fused(qkv) => {
                let all = qkv.forward(x)?;
                let first = self.heads * self.head_dim;
                let parts = all.split_at(&[first, first + self.kv_heads * self.head_dim], -1)?;
                let [q, k, v] = <[Array; 3]>::try_from(parts).map_err(|_| crate::Error::internal("split"))?;
                (q, k, v)
            }
        };
        if let QkNorms::Projection { q: q_norm, k: k_norm } = &self.norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        // [batch, heads, length, head_dim]
        let split = |a: Array, heads: i32| match length {
            // One position needs no exchange of axes.
            1 => a.reshape(&[batch, heads, 1, self.head_dim]),
            _ => a.reshape(&[batch, length, heads, self.head_dim])?.swap_axes(1, 2),
        };
        let (mut q, mut k, v) = (split(q, self.heads)?, split(k, self.kv_heads)?, split(v, self.kv_heads)?);
        match &self.norms {
            QkNorms::None | QkNorms::Projection { .. } => {}
            QkNorms::Head { q: q_norm, k: k_norm } => (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?),
            QkNorms::EachHead { q: q_weight, k: k_weight, eps } => {
                q = (layer_norm(&q, None, None, *eps)? * q_weight)?;
                k = (layer_norm(&k, None, None, *eps)? * k_weight)?;
            }
        }
        if let Some(rope) = &self.rope {
            (q, k) = rope.apply_both(&q, &k, cache.position())?;
        }
        let out = cache.attend(&q, &k, &v, mask, &self.params)?;
        let out = if length == 1 { out } else { out.swap_axes(1, 2)? };
        self.output.forward(&out.reshape(&[batch, length, self.heads * self.head_dim])?)
    }
}

/// The norm weights of all heads, `[heads, 1, head_dim]`.
fn head_weights(w: &Weights, path: &str, which: &str, heads: i32, dim: i32, stored: HeadWeights) -> Result<Array> {
    match stored {
        HeadWeights::Matrix => w.derived(&format!("{path}.{which}_norm.weight"), &[heads, dim], |a| a.expand_dims(1)),
        HeadWeights::List => {
            let names: Vec<String> = (0..heads).map(|h| format!("{path}.{which}_layernorm.norms.{h}.weight")).collect();
            w.joined(&names, &[dim], |parts| stack(parts, 0)?.expand_dims(1))
        }
    }
}
