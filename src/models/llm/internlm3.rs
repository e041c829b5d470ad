//! InternLM 3: Llama with biases that are set one by one.
//!
//! `bias` is for the output of attention too, as in the original code; mlx-lm 0.32.2 has `qkv_bias` there.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec};

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    bias: bool,
    #[serde(default)]
    qkv_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let defaults = json!({"max_position_embeddings": 32_768, "tie_word_embeddings": false});
    let config = &config::with_defaults(config, defaults);
    let (mut c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    c.mlp_bias = own.bias;
    let bias = AttentionBias::of(own.qkv_bias, own.bias);
    llama::decoder(&c, llama::layers(&c, |_, attention| attention.bias = bias)?)
}
