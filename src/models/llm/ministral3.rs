//! Ministral 3: Llama with YaRN and queries that grow with their position.

use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, required};
use crate::models::decoder::{DecoderSpec, Temperature};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    let period = || required("rope_parameters.original_max_position_embeddings", period(&c)?);
    let temperature = match c.rope_setting("llama_4_scaling_beta")? {
        Some(scale) => Some(Temperature { scale, period: period()?, shift: 0 }),
        None => None,
    };
    llama::decoder(&c, llama::layers(&c, |_, attention| attention.temperature = temperature)?)
}

fn period(c: &Common) -> Result<Option<f32>> {
    c.rope_setting("original_max_position_embeddings")
}
