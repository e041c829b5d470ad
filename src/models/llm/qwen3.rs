//! Qwen 3: norms on the queries and keys of each head.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::models::config;
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, QkNorm};
use crate::nn::rope::RopeScaling;
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
    max_position_embeddings: i32,
    tie_word_embeddings: bool,
    rope_theta: Option<f32>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    // transformers 5 writes base and scaling into one block.
    let parameters = c.rope_parameters.as_ref();
    let theta = c.rope_theta.or_else(|| Some(parameters?.get("rope_theta")?.as_f64()? as f32));
    let base = theta.ok_or_else(|| Error::invalid_config("config.json: rope_theta is missing"))?;
    let scaling = c.rope_scaling.as_ref().or(parameters);
    let rope = RopeSpec {
        scaling: RopeScaling::parse(scaling, Some(c.max_position_embeddings))?,
        ..RopeSpec::plain(c.head_dim, base)
    };
    let norm = NormSpec { kind: NormKind::Rms, eps: c.rms_norm_eps };
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, c.head_dim, rope);
    attention.qk_norm = QkNorm::Head(norm);
    let layer = LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::Silu));
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    Ok(DecoderSpec {
        context_length: Some(c.max_position_embeddings),
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::tied_if(c.tie_word_embeddings))
    })
}
