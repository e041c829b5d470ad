//! Granite 3: Llama with multipliers on embeddings, attention, residuals and logits.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Ffn, LayerSpec};

#[derive(Deserialize)]
struct Config {
    embedding_multiplier: f32,
    attention_multiplier: f32,
    residual_multiplier: f32,
    logits_scaling: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    decoder(config, |c| llama::ffn(c).into())
}

/// With this feed-forward part in every layer.
pub fn decoder(config: &Value, ffn: impl FnOnce(&Common) -> Ffn) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut attention = llama::attention(&c)?;
    attention.scale = own.attention_multiplier;
    let mut layer = LayerSpec::pre_norm(attention, ffn(&c), c.rms_norm()?);
    (layer.attend.scale, layer.feed.scale) = (Some(own.residual_multiplier), Some(own.residual_multiplier));
    let layers = vec![layer; c.layer_count()?];
    Ok(DecoderSpec {
        embedding_scale: Some(own.embedding_multiplier),
        logit_scale: Some(1.0 / own.logits_scaling),
        ..llama::decoder(&c, layers)?
    })
}
