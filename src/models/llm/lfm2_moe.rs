//! LFM2 with experts in all layers but the first ones.

use serde::Deserialize;
use serde_json::Value;

use super::lfm2;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Ffn, GatedSpec, MoeSpec};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterBias, RouterSpec, Score};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    moe_intermediate_size: i32,
    num_dense_layers: usize,
    norm_topk_prob: bool,
    use_expert_bias: bool,
    #[serde(default = "one")]
    routed_scaling_factor: f32,
}

fn one() -> f32 {
    1.0
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let dense = GatedSpec { name: "feed_forward", ..GatedSpec::new(c.intermediate_size, Activation::Silu) };
    let router = RouterSpec {
        score: Score::Sigmoid,
        bias: if own.use_expert_bias { RouterBias::Choice("expert_bias") } else { RouterBias::None },
        scale: Some(own.routed_scaling_factor),
        ..RouterSpec::softmax(own.num_experts_per_tok, own.norm_topk_prob)
    };
    let experts = ExpertsSpec {
        num_experts: own.num_experts,
        intermediate_size: own.moe_intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames::default(),
    };
    let moe = MoeSpec { name: "feed_forward", ..MoeSpec::new(router, experts) };
    lfm2::decoder(config, |i| match i < own.num_dense_layers {
        true => Ffn::from(dense.clone()),
        false => moe.clone().into(),
    })
}

/// Published as `w1`, `w2`, `w3`.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    const NAMES: [(&str, &str); 3] = [(".w1.", ".gate_proj."), (".w2.", ".down_proj."), (".w3.", ".up_proj.")];
    w.rename(|name| Some(NAMES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))))
}
