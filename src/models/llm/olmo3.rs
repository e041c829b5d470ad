//! OLMo 3: OLMo 2 with windows on most layers, whose RoPE is not scaled.

use serde_json::{Value, json};

use super::{llama, olmo2};
use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING};
use crate::models::decoder::DecoderSpec;
use crate::nn::RopeSpec;
use crate::nn::rope::RopeScaling;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(&config::with_defaults(config, json!({"tie_word_embeddings": false})))?;
    let count = c.layer_count()?;
    let usual = || (1..=count).map(|i| if i % 4 == 0 { FULL } else { SLIDING }.to_owned()).collect();
    let types: Vec<String> = c.layer_types.clone().unwrap_or_else(usual);
    config::layer_count(types.len() as i32)?;
    let head_dim = c.head_dim()?;
    let layers = types.iter().map(|kind| {
        let mut attention = llama::attention(&c)?;
        if kind != FULL {
            attention.window = Some(config::required("sliding_window", c.sliding_window)?);
            let own = c.has_rope_of(SLIDING).then(|| c.rope_of(SLIDING, head_dim, None)).transpose()?;
            attention.rope = own.or(attention.rope.map(|full| RopeSpec { scaling: RopeScaling::None, ..full }));
        }
        olmo2::layer(&c, attention)
    });
    llama::decoder(&c, layers.collect::<Result<_>>()?)
}
