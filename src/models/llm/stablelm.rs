//! StableLM 2: LayerNorm with bias, rotation of a part of each head, optional norms of each head.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{
    AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, HeadWeights, LayerSpec, NormLayout, QkNorm,
};
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    vocab_size: i32,
    rope_theta: f32,
    use_qkv_bias: bool,
    partial_rotary_factor: f32,
    layer_norm_eps: f32,
    #[serde(default)]
    use_parallel_residual: bool,
    #[serde(default)]
    qk_layernorm: bool,
    max_position_embeddings: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec::plain((c.partial_rotary_factor * head_dim as f32) as i32, c.rope_theta);
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, head_dim, rope);
    if c.use_qkv_bias {
        attention.bias = AttentionBias::Qkv;
    }
    if c.qk_layernorm {
        attention.qk_norm = QkNorm::EachHead { eps: c.layer_norm_eps, weights: HeadWeights::List };
    }
    let layer = LayerSpec {
        layout: if c.use_parallel_residual { NormLayout::Parallel } else { NormLayout::Pre },
        ..LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::Silu))
    };
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::LayerBias, eps: c.layer_norm_eps };
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Separate)
    })
}
