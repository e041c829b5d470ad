//! GLM 4 of 2024: Llama with interleaved RoPE and a fused feed-forward part.
//!
//! `partial_rotary_factor` counts as in transformers, half of each head by default; mlx-lm 0.32.2 rotates whole heads.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, GateUp, GatedSpec, LayerSpec};
use crate::nn::Activation;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    decoder(&config::parse(&config::with_defaults(config, json!({"partial_rotary_factor": 0.5})))?)
}

/// What GLM 4 of both years have in common.
pub fn decoder(c: &Common) -> Result<DecoderSpec> {
    let head_dim = c.head_dim()?;
    let mut rope = c.rope(head_dim, Some(10_000.0))?;
    rope.interleaved = true;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.bias = AttentionBias::of(c.attention_bias, false);
    let ffn =
        GatedSpec { gate_up: GateUp::Fused("gate_up_proj"), ..GatedSpec::new(c.intermediate_size, Activation::Silu) };
    let layers = vec![LayerSpec::pre_norm(attention, ffn, c.rms_norm()?); c.layer_count()?];
    llama::decoder(c, layers)
}
