//! Qwen 2 and 2.5: Llama with biases on queries, keys and values.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, Ffn, GatedSpec, LayerSpec};
use crate::nn::Activation;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    decoder(config, |c| GatedSpec::new(c.intermediate_size, Activation::Silu).into())
}

/// With another feed-forward part in all layers.
pub fn decoder(config: &Value, ffn: impl FnOnce(&Common) -> Ffn) -> Result<DecoderSpec> {
    let c: Common = config::parse(&config::with_defaults(config, json!({"max_position_embeddings": 32768})))?;
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(1_000_000.0))?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.bias = AttentionBias::Qkv;
    let layer = LayerSpec::pre_norm(attention, ffn(&c), c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
