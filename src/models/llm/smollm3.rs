//! SmolLM 3: Llama in which every few layers do not encode positions.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::{Error, Result};
use crate::models::config;
use crate::models::decoder::{DecoderSpec, Mixer};

#[derive(Deserialize)]
struct Config {
    #[serde(default = "interval")]
    no_rope_layer_interval: i32,
    /// One entry a layer: 1 rotates, 0 does not.
    no_rope_layers: Option<Vec<i32>>,
}

fn interval() -> i32 {
    4
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let mut spec = llama::spec(config)?;
    let count = spec.layers.len();
    if c.no_rope_layer_interval < 1 {
        return Err(Error::invalid_config(format!("config.json: no_rope_layer_interval {}", c.no_rope_layer_interval)));
    }
    let rotates = c
        .no_rope_layers
        .unwrap_or_else(|| (1..=count as i32).map(|i| i32::from(i % c.no_rope_layer_interval != 0)).collect());
    if rotates.len() != count {
        return Err(Error::invalid_config(format!(
            "config.json: no_rope_layers has {} entries for {count} layers",
            rotates.len()
        )));
    }
    for (layer, rotates) in spec.layers.iter_mut().zip(rotates) {
        let Mixer::Attention(attention) = &mut layer.mixer;
        if rotates == 0 {
            attention.rope = None;
        }
    }
    Ok(spec)
}
