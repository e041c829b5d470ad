//! Command R: attention and feed-forward in parallel behind one LayerNorm, scaled logits.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{
    AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, HeadWeights, LayerSpec, NormLayout, QkNorm,
};
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    vocab_size: i32,
    rope_theta: f32,
    layer_norm_eps: f32,
    logit_scale: f32,
    attention_bias: bool,
    layer_norm_bias: bool,
    use_qk_norm: bool,
    max_position_embeddings: Option<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hidden_size: 8192,
            num_hidden_layers: 40,
            intermediate_size: 22528,
            num_attention_heads: 64,
            num_key_value_heads: 64,
            vocab_size: 256_000,
            rope_theta: 8_000_000.0,
            layer_norm_eps: 1e-5,
            logit_scale: 0.0625,
            attention_bias: false,
            layer_norm_bias: false,
            use_qk_norm: false,
            max_position_embeddings: None,
        }
    }
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec { interleaved: true, ..RopeSpec::plain(head_dim, c.rope_theta) };
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, head_dim, rope);
    attention.bias = AttentionBias::all_if(c.attention_bias);
    if c.use_qk_norm {
        attention.qk_norm = QkNorm::EachHead { eps: c.layer_norm_eps, weights: HeadWeights::Matrix };
    }
    let layer = LayerSpec {
        layout: NormLayout::Parallel,
        ..LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::Silu))
    };
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let kind = if c.layer_norm_bias { NormKind::LayerBias } else { NormKind::Layer };
    let norm = NormSpec { kind, eps: c.layer_norm_eps };
    Ok(DecoderSpec {
        logit_scale: Some(c.logit_scale),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    })
}
