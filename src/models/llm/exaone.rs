//! EXAONE 3 and 3.5: Llama under GPT-2's names.

use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionNames, DecoderSpec, GateUp, GatedSpec, LayerSpec, Names, NormAt, SubLayer};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let names = [("num_layers", "num_hidden_layers"), ("layer_norm_epsilon", "rms_norm_eps")];
    let c: Common = config::parse(&config::renamed(config, &names))?;
    let norm = c.rms_norm()?;
    let mut attention = llama::attention(&c)?;
    attention.names = AttentionNames { attention: "attn.attention", output: "out_proj", ..AttentionNames::default() };
    let gate_up = GateUp::Separate { gate: "c_fc_0", up: "c_fc_1" };
    let ffn = GatedSpec { gate_up, down: "c_proj", ..llama::ffn(&c) };
    let layer =
        LayerSpec::new(SubLayer::bare(attention).before("ln_1", norm), SubLayer::bare(ffn).before("ln_2", norm));
    Ok(DecoderSpec {
        norm: NormAt { name: "transformer.ln_f", spec: norm },
        names: Names { embedding: "transformer.wte", layers: "transformer.h", head: "lm_head" },
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
