//! Jamba: Mamba in most layers, attention without positions in the others, experts in some.

use serde::Deserialize;
use serde_json::Value;

use super::{llama, mamba};
use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::{
    AttentionSpec, ConvSpec, DecoderSpec, Ffn, GatedSpec, LayerSpec, MambaNorms, MambaSpec, Mixer, MoeSpec, NormAt,
    SubLayer,
};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    attn_layer_offset: usize,
    attn_layer_period: usize,
    expert_layer_offset: usize,
    expert_layer_period: usize,
    mamba_d_conv: i32,
    mamba_d_state: i32,
    mamba_expand: i32,
    #[serde(default)]
    mamba_dt_rank: Value,
    #[serde(default)]
    mamba_proj_bias: bool,
    #[serde(default = "yes")]
    mamba_conv_bias: bool,
    num_experts: i32,
    num_experts_per_tok: i32,
}

fn yes() -> bool {
    true
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let attention = AttentionSpec { rope: None, ..llama::attention(&c)? };
    let mamba = MambaSpec {
        name: "mamba",
        channels: own.mamba_expand.saturating_mul(c.hidden_size),
        state_size: own.mamba_d_state,
        rank: mamba::rank(&own.mamba_dt_rank, c.hidden_size),
        conv: ConvSpec::silu(own.mamba_d_conv, own.mamba_conv_bias),
        bias: own.mamba_proj_bias,
        norms: MambaNorms::Named(["dt_layernorm", "b_layernorm", "c_layernorm"], norm.eps),
    };
    let dense = GatedSpec { name: "feed_forward", ..GatedSpec::new(c.intermediate_size, Activation::Silu) };
    let experts = ExpertsSpec {
        num_experts: own.num_experts,
        intermediate_size: c.intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames::default(),
    };
    // As in transformers: the chosen experts keep their weights among all, and layers count from the offset. The
    // reference has a softmax over the chosen ones, and counts to the offset.
    let router = RouterSpec { name: "router", ..RouterSpec::softmax(own.num_experts_per_tok, false) };
    let moe = MoeSpec { name: "feed_forward", ..MoeSpec::new(router, experts) };
    let attends = |i: usize| match &c.layer_types {
        Some(types) => types.get(i).is_some_and(|kind| kind == "attention" || kind == FULL),
        None => i % own.attn_layer_period.max(1) == own.attn_layer_offset,
    };
    let layer = |i: usize| {
        let mixer: Mixer = if attends(i) { attention.clone().into() } else { mamba.clone().into() };
        let sparse = own.num_experts > 1 && i % own.expert_layer_period.max(1) == own.expert_layer_offset;
        let ffn: Ffn = if sparse { moe.clone().into() } else { dense.clone().into() };
        LayerSpec::new(
            SubLayer::bare(mixer).before("input_layernorm", norm),
            SubLayer::bare(ffn).before("pre_ff_layernorm", norm),
        )
    };
    let layers = (0..c.layer_count()?).map(layer).collect();
    Ok(DecoderSpec { norm: NormAt { name: "model.final_layernorm", spec: norm }, ..llama::decoder(&c, layers)? })
}
