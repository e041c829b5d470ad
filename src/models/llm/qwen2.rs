//! Qwen 2 and 2.5: Llama with biases on queries, keys and values.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    vocab_size: i32,
    rms_norm_eps: f32,
    #[serde(default = "context")]
    max_position_embeddings: i32,
    #[serde(default = "theta")]
    rope_theta: f32,
    #[serde(default)]
    rope_traditional: bool,
    rope_scaling: Option<Value>,
    #[serde(default = "defaults::yes")]
    tie_word_embeddings: bool,
}

fn context() -> i32 {
    32768
}

fn theta() -> f32 {
    1_000_000.0
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec {
        dims: head_dim,
        interleaved: c.rope_traditional,
        base: c.rope_theta,
        scaling: RopeScaling::parse(c.rope_scaling.as_ref(), Some(c.max_position_embeddings))?,
    };
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, head_dim, rope);
    attention.bias = AttentionBias::Qkv;
    let layer = LayerSpec::pre_norm(attention, Ffn::gated(c.intermediate_size, Activation::Silu));
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::Rms, eps: c.rms_norm_eps };
    Ok(DecoderSpec {
        context_length: Some(c.max_position_embeddings),
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::tied_if(c.tie_word_embeddings))
    })
}
