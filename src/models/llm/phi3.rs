//! Phi 3 and 3.5: Llama with fused projections.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionNames, AttentionSpec, DecoderSpec, GateUp, GatedSpec, LayerSpec, QkvNames};
use crate::nn::Activation;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"max_position_embeddings": 131_072, "original_max_position_embeddings": 4096,
            "tie_word_embeddings": false}),
    );
    let c: Common = config::parse(config)?;
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(10_000.0))?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.names = AttentionNames { qkv: QkvNames::Fused("qkv_proj"), ..AttentionNames::default() };
    let ffn =
        GatedSpec { gate_up: GateUp::Fused("gate_up_proj"), ..GatedSpec::new(c.intermediate_size, Activation::Silu) };
    let layers = vec![LayerSpec::pre_norm(attention, ffn, c.rms_norm()?); c.layer_count()?];
    llama::decoder(&c, layers)
}
