//! Mistral 3 and LLaVA, of which only the text side is run: Ministral 3, Mistral or Llama.

use serde_json::{Value, json};

use super::ministral3;
use crate::error::{Error, Result};
use crate::models::config;
use crate::models::decoder::DecoderSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    if config.get("kv_lora_rank").is_some() {
        return Err(Error::unsupported("config.json: Mistral 4 as the text side of mistral3"));
    }
    // Without a temperature this is Llama.
    ministral3::spec(&config::with_defaults(config, json!({"tie_word_embeddings": false})))
}
