//! Qwen 1.5 and 2 with experts, one of them shared by all positions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::qwen2;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, Ffn, SharedExpert, SharedGate};
use crate::nn::{Activation, ExpertsSpec, RouterSoftmax};

#[derive(Deserialize)]
struct Config {
    num_attention_heads: i32,
    num_key_value_heads: Option<i32>,
    num_experts: i32,
    num_experts_per_tok: i32,
    moe_intermediate_size: i32,
    shared_expert_intermediate_size: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let ffn = Ffn::Moe {
        experts: ExpertsSpec {
            count: c.num_experts,
            chosen: c.num_experts_per_tok,
            softmax: RouterSoftmax::All,
            size: c.moe_intermediate_size,
            activation: Activation::Silu,
            bias: false,
        },
        shared: Some(SharedExpert { size: c.shared_expert_intermediate_size, gate: SharedGate::Sigmoid }),
    };
    let mut config = config.clone();
    config["num_key_value_heads"] = json!(c.num_key_value_heads.unwrap_or(c.num_attention_heads));
    // The reference has an output layer of its own whatever the configuration says.
    config["tie_word_embeddings"] = json!(false);
    let mut spec = qwen2::spec(&config)?;
    spec.layers.iter_mut().for_each(|layer| layer.ffn = ffn.clone());
    Ok(spec)
}
