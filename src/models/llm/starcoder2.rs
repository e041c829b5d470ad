//! StarCoder 2: LayerNorm, biases everywhere, a feed-forward layer without gate.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, Names};
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
struct Config {
    hidden_size: i32,
    num_hidden_layers: i32,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    #[serde(default = "vocab")]
    vocab_size: i32,
    #[serde(default = "eps")]
    norm_epsilon: f32,
    #[serde(default = "theta")]
    rope_theta: f32,
    #[serde(default = "defaults::yes")]
    tie_word_embeddings: bool,
    max_position_embeddings: Option<i32>,
}

fn vocab() -> i32 {
    49_152
}

fn eps() -> f32 {
    1e-5
}

fn theta() -> f32 {
    100_000.0
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let head_dim = config::head_dim(c.hidden_size, c.num_attention_heads)?;
    let rope = RopeSpec::plain(head_dim, c.rope_theta);
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_key_value_heads, head_dim, rope);
    attention.bias = AttentionBias::All;
    let ffn = Ffn::Plain { size: c.intermediate_size, activation: Activation::Gelu, bias: true };
    let layers = vec![LayerSpec::pre_norm(attention, ffn); config::layer_count(c.num_hidden_layers)?];
    let norm = NormSpec { kind: NormKind::LayerBias, eps: c.norm_epsilon };
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        names: Names { up: "c_fc", down: "c_proj", ..Names::default() },
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::tied_if(c.tie_word_embeddings))
    })
}
