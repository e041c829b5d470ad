//! Softmax attention of the decoder.

use super::spec::{AttentionBias, AttentionSpec, HeadWeights, Projection, QkNorm};
use super::{At, Residual};
use crate::array::fused::{self, HeadNorms, Scores};
use crate::array::{Array, stack};
use crate::cache::State;
use crate::error::Result;
use crate::nn::{Input, Joint, Linear, Norm, RopeSpec};
use crate::weights::Weights;

pub struct Attention {
    projections: Joint<3>,
    output: Linear,
    /// Norms over all heads together.
    norms: Option<[Norm; 2]>,
    /// What stands between the projections and the output.
    attention: fused::Attention,
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
        let (mut norms, mut attention) = (
            None,
            fused::Attention {
                rotation: spec.rope.as_ref().map(RopeSpec::rotation).transpose()?,
                ..fused::Attention::plain(
                    heads,
                    kv_heads,
                    head_dim,
                    Scores { scale: spec.scale, softcap: spec.softcap },
                )
            },
        );
        match spec.qk_norm {
            QkNorm::None => {}
            QkNorm::Head(n) => {
                attention.norms =
                    HeadNorms::Same { q: norm("q_norm", head_dim, n)?.into(), k: norm("k_norm", head_dim, n)?.into() };
            }
            QkNorm::Projection(n) => {
                norms = Some([norm("q_norm", heads * head_dim, n)?, norm("k_norm", kv_heads * head_dim, n)?]);
            }
            QkNorm::EachHead { eps, weights } => {
                attention.norms = HeadNorms::Each {
                    q: head_weights(w, path, "q", heads, head_dim, weights)?,
                    k: head_weights(w, path, "k", kv_heads, head_dim, weights)?,
                    eps,
                };
            }
        }
        let bias = spec.bias == AttentionBias::All;
        let output = Linear::load(w, &format!("{path}.o_proj"), heads * head_dim, hidden, bias)?;
        Ok(Attention { projections, output, norms, attention })
    }

    /// `x` is `[batch, length, hidden]`, and so is the result, added to the residual stream if one is given.
    pub fn forward(&self, x: Input, at: &At, state: &mut dyn State, onto: Option<Residual>) -> Result<Array> {
        let [mut q, mut k, v] = self.projections.forward(x)?;
        if let Some([q_norm, k_norm]) = &self.norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        let at = fused::At { offset: at.offset, held: None, mask: &at.mask };
        let out = state.attend(&self.attention, [&q, &k, &v], &at)?;
        Residual::add(onto, &self.output, &out)
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
