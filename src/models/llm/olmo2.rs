//! OLMo 2: norms behind attention and feed-forward, and over whole projections of queries and keys.

use serde_json::Value;

use super::llama::Config;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, LayerSpec, NormLayout, QkNorm};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let mut attention = c.attention()?;
    attention.qk_norm = QkNorm::Projection(c.norm());
    let layer = LayerSpec { layout: NormLayout::Post, ..LayerSpec::pre_norm(attention, c.ffn()) };
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    Ok(c.decoder(layers))
}
