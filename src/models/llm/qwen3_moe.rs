//! Qwen 3 with experts in most layers.

use serde::Deserialize;
use serde_json::Value;

use super::qwen3;
use crate::error::{Error, Result};
use crate::models::config;
use crate::models::decoder::{DecoderSpec, MoeSpec};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    moe_intermediate_size: i32,
    decoder_sparse_step: i32,
    mlp_only_layers: Vec<i64>,
    norm_topk_prob: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    if c.decoder_sparse_step < 1 {
        let step = c.decoder_sparse_step;
        return Err(Error::invalid_config(format!("config.json: decoder_sparse_step is {step}, less than 1")));
    }
    let experts = ExpertsSpec {
        num_experts: c.num_experts,
        intermediate_size: c.moe_intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames::default(),
    };
    let moe = MoeSpec::new(RouterSpec::softmax(c.num_experts_per_tok, c.norm_topk_prob), experts);
    let mut spec = qwen3::spec(config)?;
    for (layer, i) in spec.layers.iter_mut().zip(0i64..) {
        let sparse = (i + 1) % i64::from(c.decoder_sparse_step) == 0;
        if c.num_experts > 0 && sparse && !c.mlp_only_layers.contains(&i) {
            layer.feed.what = moe.clone().into();
        }
    }
    Ok(spec)
}
