//! Mixtral: Mistral with experts in every layer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, LayerSpec, MoeSpec};
use crate::nn::{Activation, ExpertNames, ExpertsSpec, RouterSpec};

#[derive(Deserialize)]
struct Config {
    num_experts_per_tok: i32,
    num_local_experts: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_experts_per_tok": 2, "num_key_value_heads": 8, "num_local_experts": 8,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(1e6))?;
    let experts = ExpertsSpec {
        num_experts: own.num_local_experts,
        intermediate_size: c.intermediate_size,
        activation: Activation::Silu,
        bias: false,
        names: ExpertNames { parts: ["w1", "w3", "w2"], ..ExpertNames::default() },
    };
    let router = RouterSpec::softmax(own.num_experts_per_tok, true);
    let moe = MoeSpec { name: "block_sparse_moe", ..MoeSpec::new(router, experts) };
    let attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    let layer = LayerSpec::pre_norm(attention, moe, c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
