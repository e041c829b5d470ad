//! Mixtral: Mistral with experts in every layer.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, Names};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, ExpertsSpec, NormKind, NormSpec, RopeSpec, RouterSoftmax};

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: i32,
    hidden_size: i32,
    intermediate_size: i32,
    num_hidden_layers: i32,
    num_attention_heads: i32,
    num_experts_per_tok: i32,
    num_key_value_heads: i32,
    num_local_experts: i32,
    rms_norm_eps: f32,
    rope_theta: f32,
    rope_traditional: bool,
    rope_scaling: Option<Value>,
    tie_word_embeddings: bool,
    max_position_embeddings: Option<i32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 14336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_experts_per_tok: 2,
            num_key_value_heads: 8,
            num_local_experts: 8,
            rms_norm_eps: 1e-5,
            rope_theta: 1e6,
            rope_traditional: false,
            rope_scaling: None,
            tie_word_embeddings: false,
            max_position_embeddings: None,
        }
    }
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec {
        dims: head_dim,
        interleaved: c.rope_traditional,
        base: c.rope_theta,
        scaling: RopeScaling::parse(c.rope_scaling.as_ref(), c.max_position_embeddings)?,
    };
    let experts = ExpertsSpec {
        count: c.num_local_experts,
        chosen: c.num_experts_per_tok,
        softmax: RouterSoftmax::Chosen,
        size: c.intermediate_size,
        activation: Activation::Silu,
        bias: false,
    };
    let attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, head_dim, rope);
    let layer = LayerSpec::pre_norm(attention, Ffn::Moe { experts, shared: None });
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::Rms, eps: c.rms_norm_eps };
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        names: Names { ffn: "block_sparse_moe", experts: ["w1", "w3", "w2"], ..Names::default() },
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::tied_if(c.tie_word_embeddings))
    })
}
