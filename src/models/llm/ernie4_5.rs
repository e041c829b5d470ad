//! ERNIE 4.5 without experts: Llama with interleaved RoPE.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    use_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (mut c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    (c.rope_traditional, c.attention_bias, c.mlp_bias) = (true, own.use_bias, own.use_bias);
    llama::decoder(&c, llama::layers(&c, |_, _| ())?)
}
