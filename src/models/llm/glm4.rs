//! GLM 4 of 2025: Llama with norms before and after both sublayers and interleaved RoPE on a part of each head.

use serde_json::{Value, json};

use super::glm;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let defaults = json!({"tie_word_embeddings": false, "max_position_embeddings": 32_768});
    let c: Common = config::parse(&config::with_defaults(config, defaults))?;
    let mut spec = glm::decoder(&c)?;
    for layer in &mut spec.layers {
        layer.attend = layer.attend.clone().after("post_self_attn_layernorm", c.rms_norm()?);
        layer.feed = layer.feed.clone().after("post_mlp_layernorm", c.rms_norm()?);
    }
    Ok(spec)
}
