//! GPT-NeoX and Pythia: attention and feed-forward in parallel, each after its own LayerNorm; biases everywhere.
//!
//! The activation is the one that the configuration names; mlx-lm 0.32.2 always approximates GELU.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, AttentionSpec, DecoderSpec, Flow, Head, LayerSpec, Names, NormAt, PlainSpec,
    QkvNames,
};
use crate::nn::{NormKind, NormSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    layer_norm_eps: f32,
    hidden_act: String,
    use_parallel_residual: bool,
    attention_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"layer_norm_eps": 1e-5, "hidden_act": "gelu", "use_parallel_residual": true, "attention_bias": true,
            "tie_word_embeddings": false}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(10_000.0))?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_attention_heads, head_dim, rope);
    attention.bias = AttentionBias::all_if(own.attention_bias);
    attention.names = AttentionNames {
        attention: "attention",
        qkv: QkvNames::Interleaved("query_key_value"),
        output: "dense",
        ..AttentionNames::default()
    };
    let ffn = PlainSpec {
        name: "mlp",
        size: if c.intermediate_size > 0 { c.intermediate_size } else { c.hidden_size.saturating_mul(4) },
        activation: config::activation("hidden_act", &own.hidden_act)?,
        bias: true,
        up: "dense_h_to_4h",
        down: "dense_4h_to_h",
    };
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.layer_norm_eps };
    let mut layer = LayerSpec::pre_norm(attention, ffn, norm);
    if own.use_parallel_residual {
        layer.flow = Flow::Parallel;
    }
    let (layers, head) = (vec![layer; c.layer_count()?], Head::tied_if(c.tie_word_embeddings == Some(true)));
    Ok(DecoderSpec {
        norm: NormAt { name: "model.final_layer_norm", spec: norm },
        names: Names { embedding: "model.embed_in", layers: "model.h", head: "model.embed_out" },
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, head)
    })
}

/// Published weights are within `gpt_neox`, with masks.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    const BUFFERS: [&str; 3] = [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];
    w.rename(|name| {
        if BUFFERS.iter().any(|buffer| name.ends_with(buffer)) {
            return None;
        }
        let bare = name.strip_prefix("gpt_neox.").or(name.strip_prefix("model.")).unwrap_or(name);
        Some(match bare.strip_prefix("layers.") {
            Some(layer) => format!("model.h.{layer}"),
            None => format!("model.{bare}"),
        })
    })
}
