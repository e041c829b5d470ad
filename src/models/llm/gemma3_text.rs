//! Gemma 3, text only: windows on most layers, each kind of layer with a rotation of its own.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::models::config;
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, NormLayout, QkNorm};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

/// The defaults are those of the 1B model, whose published configuration leaves many keys out.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    head_dim: i32,
    vocab_size: i32,
    rms_norm_eps: f32,
    rope_theta: f32,
    rope_local_base_freq: f32,
    query_pre_attn_scalar: f32,
    sliding_window: i32,
    sliding_window_pattern: i32,
    max_position_embeddings: i32,
    rope_scaling: Option<Value>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hidden_size: 1152,
            num_hidden_layers: 26,
            intermediate_size: 6912,
            num_attention_heads: 4,
            num_key_value_heads: 1,
            head_dim: 256,
            vocab_size: 262_144,
            rms_norm_eps: 1e-6,
            rope_theta: 1_000_000.0,
            rope_local_base_freq: 10_000.0,
            query_pre_attn_scalar: 256.0,
            sliding_window: 512,
            sliding_window_pattern: 6,
            max_position_embeddings: 32_768,
            rope_scaling: None,
        }
    }
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    if c.sliding_window_pattern < 1 {
        return Err(Error::invalid_config(format!("config.json: sliding_window_pattern {}", c.sliding_window_pattern)));
    }
    let norm = NormSpec { kind: NormKind::RmsPlusOne, eps: c.rms_norm_eps };
    let scaling = RopeScaling::parse(c.rope_scaling.as_ref(), Some(c.max_position_embeddings))?;
    let layer = |global: bool| {
        let rope = match global {
            true => RopeSpec { scaling: scaling.clone(), ..RopeSpec::plain(c.head_dim, c.rope_theta) },
            false => RopeSpec::plain(c.head_dim, c.rope_local_base_freq),
        };
        let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, c.head_dim, rope);
        attention.qk_norm = QkNorm::Head(norm);
        attention.scale = c.query_pre_attn_scalar.powf(-0.5);
        attention.window = (!global).then_some(c.sliding_window);
        LayerSpec {
            layout: NormLayout::Sandwich,
            ..LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::GeluTanh))
        }
    };
    let layers = (1..=config::layer_count(c.num_hidden_layers)? as i32)
        .map(|i| layer(i % c.sliding_window_pattern == 0))
        .collect();
    Ok(DecoderSpec {
        // The reference keeps this factor in bf16 whatever the type of the model.
        embedding_scale: Some(half::bf16::from_f32((c.hidden_size as f32).sqrt()).to_f32()),
        context_length: Some(c.max_position_embeddings),
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::SeparateIfThere)
    })
}
