//! Phi 3 and 3.5: fused projections, rotation of a part of each head, LongRoPE.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, Projection};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: Option<i32>,
    vocab_size: i32,
    rms_norm_eps: f32,
    #[serde(default = "defaults::rope_theta")]
    rope_theta: f32,
    #[serde(default)]
    rope_traditional: bool,
    rope_scaling: Option<Value>,
    #[serde(default = "defaults::one")]
    partial_rotary_factor: f32,
    #[serde(default = "context")]
    max_position_embeddings: i32,
    #[serde(default = "original_context")]
    original_max_position_embeddings: i32,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn context() -> i32 {
    131_072
}

fn original_context() -> i32 {
    4096
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec {
        dims: (head_dim as f32 * c.partial_rotary_factor) as i32,
        interleaved: c.rope_traditional,
        base: c.rope_theta,
        scaling: c.scaling()?,
    };
    let kv_heads = c.num_key_value_heads.unwrap_or(c.num_attention_heads);
    let mut attention = AttentionSpec::new(c.num_attention_heads, kv_heads, head_dim, rope);
    attention.qkv = Projection::Fused;
    let ffn =
        Ffn::Gated { size: c.intermediate_size, activation: Activation::Silu, gate_up: Projection::Fused, bias: false };
    let layers = vec![LayerSpec::pre_norm(attention, ffn); config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::Rms, eps: c.rms_norm_eps };
    Ok(DecoderSpec {
        context_length: Some(c.max_position_embeddings),
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::tied_if(c.tie_word_embeddings))
    })
}

impl Config {
    /// Like [`RopeScaling::parse`], but the trained context of LongRoPE stands at the top level of the configuration.
    fn scaling(&self) -> Result<RopeScaling> {
        let scaling = self.rope_scaling.as_ref();
        let kind = scaling.and_then(|s| s.get("type").or_else(|| s.get("rope_type"))).and_then(Value::as_str);
        if !matches!(kind, Some("longrope" | "su")) {
            return RopeScaling::parse(scaling, Some(self.max_position_embeddings));
        }
        let long_factor = RopeScaling::long_factor(scaling.and_then(|s| s.get("long_factor")))
            .map_err(|what| Error::invalid_config(format!("config.json: rope_scaling{what}")))?;
        Ok(RopeScaling::Longrope {
            long_factor,
            context: self.max_position_embeddings as f32,
            original_context: self.original_max_position_embeddings as f32,
        })
    }
}
