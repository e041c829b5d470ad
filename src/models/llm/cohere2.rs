//! Command R7B and Command A: Command R with windows on most layers; the others have no RoPE.

use serde::Deserialize;
use serde_json::{Value, json};

use super::cohere;
use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::DecoderSpec;

#[derive(Deserialize)]
struct Config {
    sliding_window: i32,
    sliding_window_pattern: i32,
    layer_types: Option<Vec<String>>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "hidden_size": 4096, "head_dim": 128, "num_hidden_layers": 32, "intermediate_size": 14_336,
            "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 50_000.0, "vocab_size": 256_000,
            "layer_norm_eps": 1e-5, "logit_scale": 0.0625, "sliding_window": 4096, "sliding_window_pattern": 4,
        }),
    );
    let own: Config = config::parse(config)?;
    config::size("sliding_window_pattern", own.sliding_window_pattern, 4096)?;
    let count = config::parse::<Common>(config)?.layer_count()?;
    if let Some(types) = own.layer_types.as_ref().filter(|types| types.len() != count) {
        return Err(config::invalid(format!("layer_types has {} entries for {count} layers", types.len())));
    }
    let mut spec = cohere::spec(config)?;
    for (i, layer) in spec.layers.iter_mut().enumerate() {
        let full = match &own.layer_types {
            Some(types) => types[i] == FULL,
            None => (i + 1) % own.sliding_window_pattern as usize == 0,
        };
        if let Some(attention) = layer.attend.what.attention_mut() {
            match full {
                true => attention.rope = None,
                false => attention.window = Some(own.sliding_window),
            }
        }
    }
    Ok(spec)
}
