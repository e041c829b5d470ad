//! Qwen 1: Llama under GPT-2's names, with biases on queries, keys and values.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, DecoderSpec, GateUp, GatedSpec, Head, LayerSpec, Names, NormAt, QkvNames, SubLayer,
};
use crate::nn::Activation;

#[derive(Deserialize)]
struct Config {
    no_bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let names = [("layer_norm_epsilon", "rms_norm_eps"), ("seq_length", "max_position_embeddings")];
    let config = &config::with_defaults(
        &config::renamed(config, &names),
        json!({
            "hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 24, "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-6, "intermediate_size": 11_008, "no_bias": true, "vocab_size": 151_936,
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let mut attention = llama::attention(&c)?;
    attention.bias = AttentionBias::of(true, !own.no_bias);
    attention.names = AttentionNames {
        attention: "attn",
        qkv: QkvNames::Fused("c_attn"),
        output: "c_proj",
        ..AttentionNames::default()
    };
    let ffn = GatedSpec {
        bias: !own.no_bias,
        gate_up: GateUp::Separate { gate: "w2", up: "w1" },
        down: "c_proj",
        ..GatedSpec::new(c.intermediate_size / 2, Activation::Silu)
    };
    let layer =
        LayerSpec::new(SubLayer::bare(attention).before("ln_1", norm), SubLayer::bare(ffn).before("ln_2", norm));
    Ok(DecoderSpec {
        norm: NormAt { name: "transformer.ln_f", spec: norm },
        head: if own.no_bias { Head::Separate } else { Head::WithBias },
        names: Names { embedding: "transformer.wte", layers: "transformer.h", head: "lm_head" },
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
