//! MiMo: Qwen 2 with layers that predict further tokens, which are not run.

use serde_json::{Value, json};

use super::qwen2;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::DecoderSpec;
use crate::weights::Weights;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let defaults = json!({"tie_word_embeddings": false, "rope_theta": 10_000.0});
    qwen2::spec(&config::with_defaults(config, defaults))
}

/// Drops the layers that predict further tokens.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| (!name.starts_with("model.mtp_layers.")).then(|| name.to_owned()))
}
