//! InternLM 2 and 2.5: Llama with one matrix for queries, keys and values, those of a key head beside each other.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, DecoderSpec, GateUp, GatedSpec, LayerSpec, Names, QkvNames, SubLayer,
};

#[derive(Deserialize)]
struct Config {
    bias: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let defaults = json!({"bias": true, "max_position_embeddings": 32_768, "tie_word_embeddings": false});
    let config = &config::with_defaults(config, defaults);
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let mut attention = llama::attention(&c)?;
    attention.bias = AttentionBias::all_if(own.bias);
    attention.names = AttentionNames {
        attention: "attention",
        qkv: QkvNames::Interleaved("wqkv"),
        output: "wo",
        ..AttentionNames::default()
    };
    let gate_up = GateUp::Separate { gate: "w1", up: "w3" };
    let ffn = GatedSpec { name: "feed_forward", gate_up, down: "w2", ..llama::ffn(&c) };
    let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
    let layer = LayerSpec::new(attend.before("attention_norm", norm), feed.before("ffn_norm", norm));
    Ok(DecoderSpec {
        names: Names { embedding: "model.tok_embeddings", head: "output", ..Names::default() },
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
