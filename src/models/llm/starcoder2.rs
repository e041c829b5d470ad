//! StarCoder 2: LayerNorm, biases everywhere, a feed-forward layer without gate.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, Head, LayerSpec, PlainSpec};
use crate::nn::{Activation, NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    norm_epsilon: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"vocab_size": 49_152, "norm_epsilon": 1e-5}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(100_000.0))?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.bias = AttentionBias::All;
    let ffn = PlainSpec {
        name: "mlp",
        size: c.intermediate_size,
        activation: Activation::Gelu,
        bias: true,
        up: "c_fc",
        down: "c_proj",
    };
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.norm_epsilon };
    let layers = vec![LayerSpec::pre_norm(attention, ffn, norm); c.layer_count()?];
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(
            c.vocab_size,
            c.hidden_size,
            layers,
            norm,
            Head::tied_if(c.tie_word_embeddings.unwrap_or(true)),
        )
    })
}
