//! Qwen 1.5 and 2 with experts, one of them shared by all positions.

use serde::Deserialize;
use serde_json::Value;

use super::qwen2;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, GatedSpec, Head, MoeSpec, SharedExpert, SharedGate};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    moe_intermediate_size: i32,
    shared_expert_intermediate_size: i32,
}

/// With weights of the chosen experts that sum to 1 if `normalize`.
pub fn moe(config: &Value, normalize: bool) -> Result<MoeSpec> {
    let c: Config = config::parse(config)?;
    let experts = ExpertsSpec {
        num_experts: c.num_experts,
        intermediate_size: c.moe_intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames::default(),
    };
    let shared = SharedExpert {
        layer: GatedSpec {
            name: "shared_expert",
            ..GatedSpec::new(c.shared_expert_intermediate_size, Activation::Silu)
        },
        gate: SharedGate::Sigmoid("shared_expert_gate"),
    };
    let router = RouterSpec::softmax(c.num_experts_per_tok, normalize);
    Ok(MoeSpec { shared: Some(shared), ..MoeSpec::new(router, experts) })
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let moe = moe(config, false)?;
    // The reference has a separate output layer whatever the configuration says.
    Ok(DecoderSpec { head: Head::Separate, ..qwen2::decoder(config, |_| moe.into())? })
}
