//! Gemma 2: norms before and after, scores and logits softly capped.
//!
//! The published model also alternates windows; as in mlx-lm 0.32.2 every layer sees everything.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, NormLayout};
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
    #[serde(default = "attention_cap")]
    attn_logit_softcapping: f32,
    #[serde(default = "logit_cap")]
    final_logit_softcapping: f32,
    #[serde(default = "query_scalar")]
    query_pre_attn_scalar: f32,
    max_position_embeddings: Option<i32>,
}

fn attention_cap() -> f32 {
    50.0
}

fn logit_cap() -> f32 {
    30.0
}

fn query_scalar() -> f32 {
    144.0
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let rope = RopeSpec { interleaved: c.rope_traditional, ..RopeSpec::plain(c.head_dim, c.rope_theta) };
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, c.head_dim, rope);
    attention.scale = 1.0 / c.query_pre_attn_scalar.sqrt();
    attention.softcap = Some(c.attn_logit_softcapping);
    let layer = LayerSpec {
        layout: NormLayout::Sandwich,
        ..LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::GeluTanh))
    };
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::RmsPlusOne, eps: c.rms_norm_eps };
    Ok(DecoderSpec {
        embedding_scale: Some((c.hidden_size as f32).sqrt()),
        logit_softcap: Some(c.final_logit_softcapping),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    })
}
