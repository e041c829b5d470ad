//! Seed OSS: Llama with biases of attention that are set one by one.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec};

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    attention_out_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let bias = AttentionBias::of(c.attention_bias, own.attention_out_bias);
    llama::decoder(&c, llama::layers(&c, |_, attention| attention.bias = bias)?)
}
