//! Gemma 1: scaled embeddings, norms with `1 + weight`, GELU.

use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, GatedSpec, Head, LayerSpec};
use crate::nn::{Activation, NormKind, NormSpec};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    let norm = norm(&c)?;
    let layer = LayerSpec::pre_norm(attention(&c)?, GatedSpec::new(c.intermediate_size, Activation::Gelu), norm);
    decoder(&c, vec![layer; c.layer_count()?])
}

pub fn attention(c: &Common) -> Result<AttentionSpec> {
    let head_dim = config::required("head_dim", c.head_dim)?;
    Ok(AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, c.rope(head_dim, Some(10_000.0))?))
}

pub fn norm(c: &Common) -> Result<NormSpec> {
    Ok(NormSpec { kind: NormKind::RmsPlusOne, ..c.rms_norm()? })
}

pub fn decoder(c: &Common, layers: Vec<LayerSpec>) -> Result<DecoderSpec> {
    Ok(DecoderSpec {
        embedding_scale: Some((c.hidden_size as f32).sqrt()),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm(c)?, Head::Tied)
    })
}
