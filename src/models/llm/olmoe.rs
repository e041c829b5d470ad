//! OLMoE: Llama with experts in every layer, and norms over all queries and all keys.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, LayerSpec, MoeSpec, QkNorm};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    #[serde(default)]
    norm_topk_prob: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut attention = llama::attention(&c)?;
    attention.qk_norm = QkNorm::Projection(c.rms_norm()?);
    let experts = ExpertsSpec {
        num_experts: own.num_experts,
        intermediate_size: c.intermediate_size,
        activation: Activation::Silu,
        bias: c.mlp_bias,
        names: ExpertNames::default(),
    };
    let moe = MoeSpec::new(RouterSpec::softmax(own.num_experts_per_tok, own.norm_topk_prob), experts);
    let layer = LayerSpec::pre_norm(attention, moe, c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
