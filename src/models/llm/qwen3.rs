//! Qwen 3: norms on the queries and keys of each head.

use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, GatedSpec, LayerSpec, QkNorm};
use crate::nn::Activation;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    let head_dim = config::required("head_dim", c.head_dim)?;
    config::required("max_position_embeddings", c.max_position_embeddings)?;
    config::required("tie_word_embeddings", c.tie_word_embeddings)?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, c.rope(head_dim, None)?);
    attention.qk_norm = QkNorm::Head(c.rms_norm()?);
    let ffn = GatedSpec::new(c.intermediate_size, Activation::Silu);
    let layer = LayerSpec::pre_norm(attention, ffn, c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
