//! GPT-OSS: attention with sinks, windows in every other layer, and experts with biases and a clamped SwiGLU.
//!
//! As in transformers and mlx-lm, `swiglu_limit` changes nothing: the limit is 7. YaRN's `truncate` counts, as in
//! transformers; mlx-lm 0.32.2 ignores it.

use serde_json::{Value, json};

use super::{llama, published};
use crate::array::{Array, Dtype};
use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, LayerSpec, MoeSpec};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterBias, RouterSpec};
use crate::weights::Weights;

#[derive(serde::Deserialize)]
struct Config {
    num_local_experts: i32,
    num_experts_per_tok: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"head_dim": 64, "rms_norm_eps": 1e-5, "rope_theta": 150_000, "sliding_window": 128, "num_local_experts": 128,
            "num_experts_per_tok": 4, "num_key_value_heads": 8, "tie_word_embeddings": false}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, None)?;
    let attention = AttentionSpec {
        bias: AttentionBias::All,
        sinks: Some("sinks"),
        ..AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope)
    };
    let experts = ExpertsSpec {
        activation: Activation::SwigluOai,
        bias: true,
        names: ExpertNames { stacked: "experts", ..ExpertNames::default() },
        ..ExpertsSpec::new(own.num_local_experts, c.intermediate_size)
    };
    let router =
        RouterSpec { name: "router", bias: RouterBias::Logits, ..RouterSpec::softmax(own.num_experts_per_tok, true) };
    let layer = |i: usize| {
        let kind = c.layer_types.as_ref().map(|types| types.get(i).map_or(FULL, |kind| kind.as_str()));
        let sliding = kind.unwrap_or(if i.is_multiple_of(2) { SLIDING } else { FULL }) == SLIDING;
        let attention = AttentionSpec { window: c.sliding_window.filter(|_| sliding), ..attention.clone() };
        Ok(LayerSpec::pre_norm(attention, MoeSpec::new(router.clone(), experts.clone()), c.rms_norm()?))
    };
    llama::decoder(&c, (0..c.layer_count()?).map(layer).collect::<Result<_>>()?)
}

/// Published: rows of gate and up projections alternate. In MXFP4 they are bytes, 16 to a group; otherwise inputs come
/// first.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    let parts = |kind: &str| [format!(".gate_proj.{kind}"), format!(".up_proj.{kind}"), format!(".down_proj.{kind}")];
    let rows = |a: &Array| published::alternating(a, 1);
    type Part<'a> = (&'a str, &'a str, &'a dyn Fn(&Array) -> Result<Array>);
    let forms: [Part; 4] = [
        ("_blocks", "weight", &words),
        ("_scales", "scales", &|a| Ok(a.clone())),
        ("_bias", "bias", &|a| Ok(a.clone())),
        ("", "weight", &published::transposed),
    ];
    for (suffix, kind, of) in forms {
        let [gate, up, down] = parts(kind);
        let both = format!(".gate_up_proj{suffix}");
        published::replace(w, &both, &[&gate, &up], |a| rows(&of(a)?))?;
        published::replace(w, &format!("experts.down_proj{suffix}"), &[&format!("experts{down}")], |a| {
            Ok(vec![of(a)?])
        })?;
    }
    Ok(())
}

/// Bytes of groups, `[experts, rows, groups, 16]`, as the words of rows.
fn words(a: &Array) -> Result<Array> {
    let words = a.contiguous()?.view(Dtype::U32)?;
    let shape = words.shape();
    words.reshape(&[shape[0], shape[1], shape[2..].iter().product()])
}
