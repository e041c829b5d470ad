//! Mistral 4: latent attention whose queries grow with their position, and experts chosen by a softmax.

use serde::Deserialize;
use serde_json::Value;

use super::deepseek_v3::{self, Experts};
use super::latent::Latent;
use super::published;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Temperature};
use crate::nn::{GroupScore, RouterSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    rope_interleave: Option<bool>,
    rope_parameters: Option<Growth>,
}

#[derive(Deserialize)]
struct Growth {
    llama_4_scaling_beta: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &deepseek_v3::with_defaults(config);
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let (latent, experts): (Latent, Experts) = (config::parse(config)?, config::parse(config)?);
    let mut mla = latent.attention(&c, 1e-6)?;
    if let Some(rope) = &mut mla.rope {
        rope.interleaved = own.rope_interleave.unwrap_or(true);
    }
    if let Some(Growth { llama_4_scaling_beta: Some(scale), original_max_position_embeddings: period }) =
        own.rope_parameters
    {
        let period = config::required("rope_parameters.original_max_position_embeddings", period)?;
        mla.temperature = Some(Temperature { scale, period, shift: 0 });
    }
    let router = RouterSpec {
        groups: experts.groups(GroupScore::BestTwo),
        scale: Some(experts.routed_scaling_factor),
        ..RouterSpec::softmax(experts.num_experts_per_tok, experts.norm_topk_prob)
    };
    deepseek_v3::decoder(&c, &experts, mla, router)
}

/// Published: gate and up projections of all experts are one tensor. FP8 checkpoints have scales of activations, too.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| (!name.ends_with("activation_scale")).then(|| name.to_owned()))?;
    published::split_experts(w, "mlp.experts", "mlp.switch_mlp")
}
