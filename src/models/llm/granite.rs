//! Granite 3: Llama with multipliers on embeddings, attention, residuals and logits.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, LayerSpec};

#[derive(Deserialize)]
struct Config {
    embedding_multiplier: f32,
    attention_multiplier: f32,
    residual_multiplier: f32,
    logits_scaling: f32,
    #[serde(flatten)]
    llama: llama::Config,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let mut attention = c.llama.attention()?;
    attention.scale = c.attention_multiplier;
    let layer =
        LayerSpec { residual_scale: Some(c.residual_multiplier), ..LayerSpec::pre_norm(attention, c.llama.ffn()) };
    let layers = vec![layer; config::layer_count(c.llama.num_hidden_layers)?];
    Ok(DecoderSpec {
        embedding_scale: Some(c.embedding_multiplier),
        logit_scale: Some(1.0 / c.logits_scaling),
        ..c.llama.decoder(layers)
    })
}
