//! Nanbeige 4: Llama whose layers run several times.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::{Error, Result};
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Loops};

#[derive(Deserialize)]
struct Config {
    num_loops: i32,
    /// One for each loop but the first.
    loop_loss_weights: Option<Vec<f32>>,
    #[serde(default)]
    skip_loop_final_norm: bool,
    #[serde(default)]
    enable_double_loop_split: bool,
    #[serde(default)]
    loop_share_kv: bool,
    #[serde(default)]
    enable_depth_attention: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"tie_word_embeddings": false, "num_loops": 1}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    if own.enable_double_loop_split || own.loop_share_kv || own.enable_depth_attention {
        let keys = "enable_double_loop_split, loop_share_kv, enable_depth_attention";
        return Err(Error::unsupported(format!("config.json: none of {keys} is known")));
    }
    let count = match own.loop_loss_weights {
        Some(weights) if !weights.is_empty() => weights.len() as i32 + 1,
        _ => own.num_loops,
    };
    config::size("num_loops", count, 64)?;
    let loops = Loops { count: count as usize, norm_each: !own.skip_loop_final_norm };
    Ok(DecoderSpec { loops, ..llama::decoder(&c, llama::layers(&c, |_, _| ())?)? })
}
