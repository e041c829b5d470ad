//! MiniCPM 1 and 2: Llama with scaled embeddings, sublayers and logits.
//!
//! The original code scales logits whether or not the output layer is the embedding, and published checkpoints are tied.
//! mlx-lm 0.32.2 reads those only where the configuration says that they are not.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Head};

#[derive(Deserialize)]
struct Config {
    scale_emb: f32,
    scale_depth: f32,
    dim_model_base: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"rope_theta": 1_000_000.0}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut layers = llama::layers(&c, |_, _| ())?;
    let scale = own.scale_depth / (layers.len() as f32).sqrt();
    for layer in &mut layers {
        (layer.attend.scale, layer.feed.scale) = (Some(scale), Some(scale));
    }
    Ok(DecoderSpec {
        embedding_scale: Some(own.scale_emb),
        logit_scale: Some(own.dim_model_base / c.hidden_size as f32),
        head: Head::SeparateIfThere,
        ..llama::decoder(&c, layers)?
    })
}
