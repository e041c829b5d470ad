//! Gemma 3 with a vision tower, of which only the text side is run.

use serde_json::{Value, json};

use super::gemma3_text;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::DecoderSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    // Published configurations leave these out. A vocabulary within text_config counts, unlike in mlx-lm 0.32.2.
    let defaults = json!({"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208});
    gemma3_text::spec(&config::with_defaults(config, defaults))
}
