//! Mellum 2: Qwen 3 with experts in every layer, and windows on some.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::{DecoderSpec, MoeSpec, QkNorm};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    moe_intermediate_size: i32,
    norm_topk_prob: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"tie_word_embeddings": false}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let (head_dim, norm) = (c.head_dim()?, c.rms_norm()?);
    let experts = ExpertsSpec {
        num_experts: own.num_experts,
        intermediate_size: own.moe_intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames::default(),
    };
    let moe = MoeSpec::new(RouterSpec::softmax(own.num_experts_per_tok, own.norm_topk_prob), experts);
    let types = config::required("layer_types", c.layer_types.clone())?;
    let mut layers = llama::layers(&c, |_, attention| attention.qk_norm = QkNorm::Head(norm))?;
    for (layer, kind) in layers.iter_mut().zip(&types) {
        layer.feed.what = moe.clone().into();
        if let (Some(attention), true) = (layer.attend.what.attention_mut(), kind != FULL) {
            attention.rope = Some(c.rope_of(kind, head_dim, None)?);
        }
    }
    llama::decoder(&c, layers)
}
