//! MiniMax M2: norms over all queries and all keys, partial rotation, and experts chosen by sigmoids with a correction.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, LayerSpec, MoeSpec, QkNorm};
use crate::nn::{ExpertNames, ExpertsSpec, RouterBias, RouterSpec, Score};

#[derive(Deserialize)]
struct Config {
    num_local_experts: i32,
    num_experts_per_tok: i32,
    rotary_dim: Option<i32>,
    use_qk_norm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"use_qk_norm": true, "tie_word_embeddings": false}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let mut rope = c.rope(head_dim, None)?;
    rope.dims = own.rotary_dim.unwrap_or(rope.dims);
    let attention = AttentionSpec {
        qk_norm: if own.use_qk_norm { QkNorm::Projection(c.rms_norm()?) } else { QkNorm::None },
        ..AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope)
    };
    let router = RouterSpec {
        score: Score::Sigmoid,
        bias: RouterBias::Choice("e_score_correction_bias"),
        ..RouterSpec::softmax(own.num_experts_per_tok, true)
    };
    let experts = ExpertsSpec {
        names: ExpertNames { parts: ["w1", "w3", "w2"], ..ExpertNames::default() },
        ..ExpertsSpec::new(own.num_local_experts, c.intermediate_size)
    };
    let moe = MoeSpec { name: "block_sparse_moe", ..MoeSpec::new(router, experts) };
    let layer = LayerSpec::pre_norm(attention, moe, c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
