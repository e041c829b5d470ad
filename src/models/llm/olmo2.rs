//! OLMo 2: norms after attention and feed-forward, and over whole projections of queries and keys.

use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, LayerSpec, QkNorm, SubLayer};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    let layer = layer(&c, llama::attention(&c)?)?;
    llama::decoder(&c, vec![layer; c.layer_count()?])
}

/// A layer with this attention and the norms.
pub fn layer(c: &Common, attention: AttentionSpec) -> Result<LayerSpec> {
    let norm = c.rms_norm()?;
    let attention = AttentionSpec { qk_norm: QkNorm::Projection(norm), ..attention };
    Ok(LayerSpec::new(
        SubLayer::bare(attention).after("post_attention_layernorm", norm),
        SubLayer::bare(llama::ffn(c)).after("post_feedforward_layernorm", norm),
    ))
}
