//! Phi 1, 1.5 and 2: attention and feed-forward in parallel after one LayerNorm, biases everywhere.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, AttentionSpec, DecoderSpec, Flow, Head, LayerSpec, NormAt, PlainSpec, QkNorm,
    SubLayer,
};
use crate::nn::{NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    qk_layernorm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "max_position_embeddings": 2048, "vocab_size": 51_200, "hidden_size": 2560, "num_attention_heads": 32,
            "num_hidden_layers": 32, "partial_rotary_factor": 0.4, "intermediate_size": 10_240,
            "layer_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "gelu_new",
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let mut attention =
        AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, c.rope(head_dim, Some(10_000.0))?);
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.layer_norm_eps };
    attention.bias = AttentionBias::All;
    attention.names =
        AttentionNames { output: "dense", qk_norm: ["q_layernorm", "k_layernorm"], ..AttentionNames::default() };
    if own.qk_layernorm {
        attention.qk_norm = QkNorm::Head(norm);
    }
    let ffn = PlainSpec {
        name: "mlp",
        size: c.intermediate_size,
        activation: config::activation("hidden_act", &own.hidden_act)?,
        bias: true,
        up: "fc1",
        down: "fc2",
    };
    let attend = SubLayer::bare(attention).before("input_layernorm", norm);
    let layer = LayerSpec { flow: Flow::Parallel, ..LayerSpec::new(attend, SubLayer::bare(ffn)) };
    let layers = vec![layer; c.layer_count()?];
    Ok(DecoderSpec {
        norm: NormAt { name: "model.final_layernorm", spec: norm },
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::WithBias)
    })
}
