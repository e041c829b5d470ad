//! Granite 3 with experts in every layer.

use serde::Deserialize;
use serde_json::Value;

use super::{granite, published};
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, MoeSpec};
use crate::nn::{ExpertsSpec, RouterSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    num_local_experts: i32,
    num_experts_per_tok: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let own: Config = config::parse(config)?;
    granite::decoder(config, |c| moe(own.num_local_experts, own.num_experts_per_tok, c.intermediate_size).into())
}

/// The experts, without a shared one.
pub fn moe(num_experts: i32, top_k: i32, size: i32) -> MoeSpec {
    let router = RouterSpec { name: "router.layer", ..RouterSpec::softmax(top_k, true) };
    MoeSpec { name: "block_sparse_moe", ..MoeSpec::new(router, ExpertsSpec::new(num_experts, size)) }
}

/// Published: gate and up projections of all experts are one tensor.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    let both = ["switch_mlp.gate_proj.weight", "switch_mlp.up_proj.weight"];
    published::replace(w, "input_linear.weight", &both, |a| published::halves(a, 1))?;
    published::replace(w, "output_linear.weight", &["switch_mlp.down_proj.weight"], |a| Ok(vec![a.clone()]))
}
