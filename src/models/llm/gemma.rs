//! Gemma 1: scaled embeddings, norms with `1 + weight`, GELU.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec};
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    head_dim: i32,
    vocab_size: i32,
    rms_norm_eps: f32,
    #[serde(default = "defaults::rope_theta")]
    rope_theta: f32,
    #[serde(default)]
    rope_traditional: bool,
    max_position_embeddings: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let rope = RopeSpec { interleaved: c.rope_traditional, ..RopeSpec::plain(c.head_dim, c.rope_theta) };
    let attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, c.head_dim, rope);
    let layer = LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::Gelu));
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::RmsPlusOne, eps: c.rms_norm_eps };
    Ok(DecoderSpec {
        embedding_scale: Some((c.hidden_size as f32).sqrt()),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    })
}
