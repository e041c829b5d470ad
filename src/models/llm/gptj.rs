//! GPT-J: attention and feed-forward in parallel after one LayerNorm, interleaved RoPE on a part of each head.

use serde::Deserialize;
use serde_json::{Value, json};

use super::gpt2;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionNames, AttentionSpec, DecoderSpec, Flow, Head, LayerSpec, Names, NormAt, PlainSpec, SubLayer,
};
use crate::nn::{NormKind, NormSpec, RopeSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    layer_norm_epsilon: f32,
    activation_function: String,
    rotary_dim: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        &config::renamed(config, gpt2::KEYS),
        json!({
            "hidden_size": 4096, "vocab_size": 50_400, "layer_norm_epsilon": 1e-5, "max_position_embeddings": 2048,
            "num_attention_heads": 16, "num_hidden_layers": 28, "activation_function": "gelu_new",
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let dims = own.rotary_dim.filter(|dims| *dims != 0).unwrap_or(head_dim);
    let rope = RopeSpec { interleaved: true, ..RopeSpec::plain(dims, 10_000.0) };
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.num_attention_heads, head_dim, rope);
    attention.names = AttentionNames { attention: "attn", output: "out_proj", ..AttentionNames::default() };
    let ffn = PlainSpec {
        name: "mlp",
        size: if c.intermediate_size > 0 { c.intermediate_size } else { c.hidden_size.saturating_mul(4) },
        activation: config::activation("activation_function", &own.activation_function)?,
        bias: true,
        up: "fc_in",
        down: "fc_out",
    };
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.layer_norm_epsilon };
    let attend = SubLayer::bare(attention).before("ln_1", norm);
    let layer = LayerSpec { flow: Flow::Parallel, ..LayerSpec::new(attend, SubLayer::bare(ffn)) };
    let layers = vec![layer; c.layer_count()?];
    Ok(DecoderSpec {
        norm: NormAt { name: "model.ln_f", spec: norm },
        names: Names { embedding: "model.wte", layers: "model.h", head: "lm_head" },
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::WithBias)
    })
}

/// Published weights are within `transformer`, with masks.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| {
        if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            return None;
        }
        match name.strip_prefix("transformer.") {
            Some(rest) => Some(format!("model.{rest}")),
            None => Some(name.to_owned()),
        }
    })
}
