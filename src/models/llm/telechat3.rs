//! TeleChat 3: Llama, not tied by default.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::DecoderSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    llama::spec(&config::with_defaults(config, json!({"tie_word_embeddings": false})))
}
