//! ERNIE 4.5 with experts in some layers.
//!
//! Published checkpoints have a correction for the choice of experts, which transformers heeds and mlx-lm 0.32.2 drops: it
//! counts here where it is there.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::{Error, Result};
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec, GatedSpec, MoeSpec, SharedExpert};
use crate::nn::{Activation, ExpertsSpec, RouterBias, RouterSpec, Score};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    use_bias: bool,
    moe_num_experts: i32,
    #[serde(default = "one")]
    moe_k: i32,
    #[serde(default)]
    moe_intermediate_size: i32,
    #[serde(default)]
    moe_num_shared_experts: i32,
    #[serde(default)]
    moe_layer_start_index: Value,
    #[serde(default)]
    moe_layer_end_index: Value,
    moe_layer_interval: Option<usize>,
    moe_gate_act: Option<String>,
}

fn one() -> i32 {
    1
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let size = if own.moe_intermediate_size > 0 { own.moe_intermediate_size } else { c.intermediate_size };
    let score = match own.moe_gate_act.as_deref() {
        None | Some("softmax") => Score::Softmax,
        Some("sigmoid") => Score::Sigmoid,
        Some(other) => return Err(Error::unsupported(format!("config.json: moe_gate_act {other:?} is unknown"))),
    };
    let bias = RouterBias::ChoiceIfThere("moe_statics.e_score_correction_bias");
    let router = RouterSpec { score, bias, ..RouterSpec::softmax(own.moe_k, true) };
    let experts = ExpertsSpec { bias: own.use_bias, ..ExpertsSpec::new(own.moe_num_experts, size) };
    let mut shared = SharedExpert::plain("shared_experts", size.saturating_mul(own.moe_num_shared_experts));
    shared.layer.bias = own.use_bias;
    let moe = MoeSpec { shared: (own.moe_num_shared_experts > 0).then_some(shared), ..MoeSpec::new(router, experts) };
    // Of lists, the layers that any modality has.
    let each = |value: &Value| -> Vec<i64> {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        list.iter().filter_map(|v| v.as_f64()).map(|n| n as i64).collect()
    };
    let first = each(&own.moe_layer_start_index).into_iter().min().unwrap_or(0);
    let last = each(&own.moe_layer_end_index).into_iter().max().unwrap_or(i64::MAX);
    let interval = own.moe_layer_interval.unwrap_or(1).max(1);
    let mut layers = llama::layers(&c, |_, attention| {
        attention.bias = AttentionBias::all_if(own.use_bias);
        attention.rope.iter_mut().for_each(|rope| rope.interleaved = true);
    })?;
    for (i, layer) in layers.iter_mut().enumerate() {
        let sparse = (i + 1).is_multiple_of(interval) && (first..=last).contains(&(i as i64));
        layer.feed.what = match sparse {
            true => moe.clone().into(),
            false => GatedSpec { bias: own.use_bias, ..GatedSpec::new(c.intermediate_size, Activation::Silu) }.into(),
        };
    }
    llama::decoder(&c, layers)
}

/// Drops what predicts further tokens. The correction is stored as a matrix of one row.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| (!name.contains("mtp_")).then(|| name.to_owned()))?;
    for name in w.names().into_iter().filter(|name| name.ends_with("moe_statics.e_score_correction_bias")) {
        w.recast(&[&name], std::slice::from_ref(&name), |arrays| Ok(vec![arrays[0].reshape(&[-1])?]))?;
    }
    Ok(())
}
