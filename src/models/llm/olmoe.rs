//! OLMoE: Llama with experts in every layer, and norms over all queries and all keys.

use serde::Deserialize;
use serde_json::Value;

use super::llama::Config;
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, Ffn, LayerSpec, QkNorm};
use crate::nn::{Activation, ExpertsSpec, RouterSoftmax};

#[derive(Deserialize)]
struct Sparse {
    num_experts: i32,
    num_experts_per_tok: i32,
    #[serde(default)]
    norm_topk_prob: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let sparse: Sparse = config::parse(config)?;
    let mut attention = c.attention()?;
    attention.qk_norm = QkNorm::Projection(c.norm());
    let experts = ExpertsSpec {
        count: sparse.num_experts,
        chosen: sparse.num_experts_per_tok,
        softmax: if sparse.norm_topk_prob { RouterSoftmax::Chosen } else { RouterSoftmax::All },
        size: c.intermediate_size,
        activation: Activation::Silu,
        bias: c.mlp_bias,
    };
    let layer = LayerSpec::pre_norm(attention, Ffn::Moe { experts, shared: None });
    Ok(c.decoder(vec![layer; config::layer_count(c.num_hidden_layers)?]))
}
