//! StarCoder 1 and SantaCoder: GPT-2, usually with one key head.
//!
//! The activation is the one that the configuration names, and with as many key heads as queries those of a head are
//! beside each other, as in transformers; mlx-lm 0.32.2 always has the exact GELU and one order.

use serde::Deserialize;
use serde_json::{Value, json};

use super::gpt2;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec, Ffn, QkvNames};

#[derive(Deserialize)]
struct Config {
    multi_query: bool,
    attention_bias: bool,
    mlp_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        &config::renamed(config, gpt2::KEYS),
        json!({"activation_function": "gelu_pytorch_tanh", "multi_query": true, "attention_bias": true,
            "mlp_bias": true}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let names = ["transformer.wte", "transformer.wpe", "transformer.h", "transformer.ln_f"];
    let kv_heads = if own.multi_query { 1 } else { c.num_attention_heads };
    let mut spec = gpt2::decoder(config, names, kv_heads)?;
    for layer in &mut spec.layers {
        if let Some(attention) = layer.attend.what.attention_mut() {
            attention.bias = AttentionBias::all_if(own.attention_bias);
            if !own.multi_query {
                attention.names.qkv = QkvNames::Interleaved("c_attn");
            }
        }
        if let Ffn::Plain(ffn) = &mut layer.feed.what {
            ffn.bias = own.mlp_bias;
        }
    }
    Ok(spec)
}
