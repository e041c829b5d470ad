//! SmolLM 3: Llama in which every few layers do not encode positions.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::{Error, Result};
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;

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
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let bad = |what: String| Err(Error::invalid_config(format!("config.json: {what}")));
    let interval = own.no_rope_layer_interval;
    if interval < 1 {
        return bad(format!("no_rope_layer_interval {interval}"));
    }
    let layers = llama::layers(&c, |i, attention| {
        let rotates = match &own.no_rope_layers {
            Some(all) => all.get(i).is_some_and(|rotates| *rotates != 0),
            None => (i as i32 + 1) % interval != 0,
        };
        if !rotates {
            attention.rope = None;
        }
    })?;
    if let Some(all) = own.no_rope_layers.filter(|all| all.len() != layers.len()) {
        return bad(format!("no_rope_layers has {} entries for {} layers", all.len(), layers.len()));
    }
    llama::decoder(&c, layers)
}
