//! Granite 4: Mamba 2 in most layers, attention in the others or in all, with or without experts.

use serde::Deserialize;
use serde_json::{Value, json};

use super::granite;
use crate::error::Result;
use crate::models::config::{self, Common, invalid, required};
use crate::models::decoder::{
    ConvSpec, DecoderSpec, Ffn, GateUp, GatedSpec, Mamba2Spec, MambaGate, Mixer, MoeSpec, SharedExpert, SharedGate,
};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    position_embedding_type: Option<String>,
    num_local_experts: Option<i32>,
    num_experts_per_tok: Option<i32>,
    shared_intermediate_size: Option<i32>,
}

#[derive(Deserialize)]
struct Mamba {
    mamba_n_heads: i32,
    mamba_d_head: i32,
    mamba_proj_bias: bool,
    mamba_d_state: i32,
    mamba_d_conv: i32,
    mamba_n_groups: i32,
    mamba_conv_bias: bool,
    time_step_limit: (f32, f32),
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    // The limits of the reference; transformers has none.
    let config = &config::with_defaults(config, json!({"time_step_limit": [0.001, 100.0]}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut spec = granite::spec(config)?;
    let types = required("layer_types", c.layer_types.as_ref())?;
    if types.len() != spec.layers.len() {
        return Err(invalid(format!("layer_types: {} of {} layers", types.len(), spec.layers.len())));
    }
    let nope = own.position_embedding_type.as_deref() == Some("nope");
    let experts = own.num_local_experts.filter(|n| *n > 0).map(|n| moe(&c, &own, n)).transpose()?;
    for (layer, kind) in spec.layers.iter_mut().zip(types) {
        match (kind.as_str(), &mut layer.attend.what) {
            ("mamba" | "linear_attention", mixer) => *mixer = mamba(config, c.rms_norm()?.eps)?.into(),
            ("attention" | config::FULL, Mixer::Attention(attention)) if nope => attention.rope = None,
            ("attention" | config::FULL, _) => {}
            (other, _) => return Err(invalid(format!("layer_types: {other:?} is unknown"))),
        }
        if let Some(experts) = &experts {
            layer.feed.what = experts.clone();
        }
    }
    Ok(spec)
}

fn mamba(config: &Value, eps: f32) -> Result<Mamba2Spec> {
    let own: Mamba = config::parse(config)?;
    Ok(Mamba2Spec {
        name: "mamba",
        heads: own.mamba_n_heads,
        head_dim: own.mamba_d_head,
        groups: own.mamba_n_groups,
        state_size: own.mamba_d_state,
        conv: ConvSpec::silu(own.mamba_d_conv, own.mamba_conv_bias),
        input_bias: own.mamba_proj_bias,
        output_bias: own.mamba_proj_bias,
        step: own.time_step_limit,
        gate: MambaGate::ThenNorm { eps, groups: 1 },
    })
}

fn moe(c: &Common, own: &Config, num_experts: i32) -> Result<Ffn> {
    let (activation, names) = (Activation::Silu, ExpertNames::default());
    let experts = ExpertsSpec { num_experts, intermediate_size: c.intermediate_size, activation, bias: false, names };
    let size = required("shared_intermediate_size", own.shared_intermediate_size)?;
    let (gate_up, down) = (GateUp::Fused("input_linear"), "output_linear");
    let layer = GatedSpec { name: "shared_mlp", gate_up, down, ..GatedSpec::new(size, activation) };
    let top_k = required("num_experts_per_tok", own.num_experts_per_tok)?;
    let router = RouterSpec { name: "router.layer", ..RouterSpec::softmax(top_k, true) };
    let shared = Some(SharedExpert { layer, gate: SharedGate::None });
    Ok(MoeSpec { name: "block_sparse_moe", shared, ..MoeSpec::new(router, experts) }.into())
}
