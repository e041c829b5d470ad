//! Spark 2.5: Llama with a gate for each head, windows on most layers, and a RoPE for each kind of layer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::{Error, Result};
use crate::models::config::{self, Common, FULL, SLIDING};
use crate::models::decoder::{
    AttentionBias, AttentionNames, AttentionSpec, DecoderSpec, GateEach, GatedSpec, LayerSpec, Names, OutputGate,
    QkvNames,
};
use crate::nn::Activation;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    hidden_act: String,
    gate_attn_act_mode: String,
    headwise_attn_output_gate: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"rms_norm_eps": 1e-6, "max_position_embeddings": 8192, "hidden_act": "gelu",
            "gate_attn_act_mode": "sigmoid", "headwise_attn_output_gate": true}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    if own.hidden_act != "gelu" || own.gate_attn_act_mode != "sigmoid" || !own.headwise_attn_output_gate {
        let keys = "hidden_act, gate_attn_act_mode, headwise_attn_output_gate";
        return Err(Error::unsupported(format!("config.json: {keys} are not gelu, sigmoid, true")));
    }
    let head_dim = c.head_dim()?;
    let count = c.layer_count()?;
    let usual = || (0..count).map(|i| if i % 4 == 3 { FULL } else { SLIDING }.to_owned()).collect();
    let types: Vec<String> = c.layer_types.clone().unwrap_or_else(usual);
    config::layer_count(types.len() as i32)?;
    let layers = types.iter().map(|kind| {
        let rope = c.rope_of(kind, head_dim, Some(10_000.0))?;
        let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
        attention.window = c.sliding_window.filter(|_| kind == SLIDING);
        attention.bias = AttentionBias::all_if(c.attention_bias);
        attention.gate = Some(OutputGate { name: "g_proj", each: GateEach::Head });
        attention.names =
            AttentionNames { qkv: QkvNames::Fused("q_k_v_proj"), output: "out_proj", ..AttentionNames::default() };
        let ffn = GatedSpec { activation: Activation::Gelu, ..llama::ffn(&c) };
        Ok(LayerSpec::pre_norm(attention, ffn, c.rms_norm()?))
    });
    Ok(DecoderSpec {
        names: Names { embedding: "model.embedding", ..Names::default() },
        ..llama::decoder(&c, layers.collect::<Result<_>>()?)?
    })
}

/// Some conversions have another name for the embedding.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| match name.strip_prefix("model.embed_tokens.") {
        Some(rest) => Some(format!("model.embedding.{rest}")),
        None => Some(name.to_owned()),
    })
}
