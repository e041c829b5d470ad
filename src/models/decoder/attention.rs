//! Softmax attention of the decoder.

use super::spec::{AttentionBias, AttentionSpec, HeadWeights, Projection, QkNorm};
use super::{At, Residual};
use crate::array::cpu::{self, CachedAttention};
use crate::array::cuda;
use crate::array::fast::layer_norm;
use crate::array::{Array, stack};
use crate::cache::{AttentionParams, LayerCache};
use crate::error::Result;
use crate::nn::{Input, Joint, Linear, Norm, Rope};
use crate::weights::Weights;

pub struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    projections: Joint<3>,
    output: Linear,
    norms: QkNorms,
    rope: Option<Rope>,
    params: AttentionParams,
    /// Norms, rotation and attention as one operation, where there are kernels for that.
    fused: Option<CachedAttention>,
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
        let rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim];
        let projections = match spec.qkv {
            Projection::Separate => {
                let mut names = ["q_proj", "k_proj", "v_proj"].into_iter();
                let parts = rows.map(|rows| (format!("{path}.{}", names.next().expect("three")), rows));
                Joint::separate(w, parts, hidden, bias)?
            }
            Projection::Fused => Joint::fused(w, &format!("{path}.qkv_proj"), rows, hidden, bias)?,
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
        let rope = spec.rope.as_ref().map(Rope::new).transpose()?;
        let fused = fused(spec, &norms, rope.as_ref());
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
            rope,
            params: AttentionParams { scale: spec.scale, softcap: spec.softcap },
            fused,
        })
    }

    /// `x` is `[batch, length, hidden]`, and so is the result, added to the residual stream if one is given.
    pub fn forward(&self, x: Input, at: &At, cache: &mut LayerCache, onto: Option<Residual>) -> Result<Array> {
        let [mut q, mut k, v] = self.projections.forward(x)?;
        let (batch, length) = (q.dim(0), q.dim(1));
        if let QkNorms::Projection { q: q_norm, k: k_norm } = &self.norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        if let Some(fused) = self.fused.as_ref().filter(|_| at.offset.is_sequential())
            && let Some(out) = cache.attend_fused(fused, &q, &k, &v, &at.mask)
        {
            return Residual::add(onto, &self.output, &out?);
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
            (q, k) = (rope.apply(&q, at.offset)?, rope.apply(&k, at.offset)?);
        }
        let out = cache.attend(&q, &k, &v, &at.mask, &self.params)?;
        let out = if length == 1 { out } else { out.swap_axes(1, 2)? };
        Residual::add(onto, &self.output, &out.reshape(&[batch, length, self.heads * self.head_dim])?)
    }
}

/// What stands between the projections and the output as one operation, if all of it can be.
fn fused(spec: &AttentionSpec, norms: &QkNorms, rope: Option<&Rope>) -> Option<CachedAttention> {
    let norms = match norms {
        // Norms over whole projections come before.
        QkNorms::None | QkNorms::Projection { .. } => None,
        QkNorms::Head { q, k } => {
            let ((eps, q), (_, k)) = (q.rms()?, k.rms()?);
            Some((eps, q.clone(), k.clone()))
        }
        QkNorms::EachHead { .. } => return None,
    };
    let rotation = match rope {
        Some(rope) => Some(rope.rotation()?.clone()),
        None => None,
    };
    (cpu::active() || cuda::active()).then(|| CachedAttention {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        scale: spec.scale,
        softcap: spec.softcap,
        norms,
        rotation,
        prepared: Default::default(),
    })
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
