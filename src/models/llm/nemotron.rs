//! Nemotron and Minitron: LayerNorm with `1 + weight`, a feed-forward layer without gate, RoPE on a part of each head.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, LayerSpec, NormAt, PlainSpec};
use crate::nn::{NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    hidden_act: String,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        &config::renamed(config, &[("norm_eps", "rms_norm_eps")]),
        json!({"partial_rotary_factor": 0.5, "tie_word_embeddings": false, "hidden_act": "relu2"}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = NormSpec { kind: NormKind::LayerPlusOneBias, eps: c.rms_norm()?.eps };
    let ffn = PlainSpec {
        name: "mlp",
        size: c.intermediate_size,
        activation: config::activation("hidden_act", &own.hidden_act)?,
        bias: c.mlp_bias,
        up: "up_proj",
        down: "down_proj",
    };
    let layers = vec![LayerSpec::pre_norm(llama::attention(&c)?, ffn, norm); c.layer_count()?];
    Ok(DecoderSpec { norm: NormAt { name: "model.norm", spec: norm }, ..llama::decoder(&c, layers)? })
}
