//! Helium: Llama with interleaved RoPE.

use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let mut c: Common = config::parse(config)?;
    c.rope_traditional = true;
    let bias = AttentionBias::of(c.attention_bias, false);
    llama::decoder(&c, llama::layers(&c, |_, attention| attention.bias = bias)?)
}
