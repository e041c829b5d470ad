//! Mamba, and Falcon Mamba, which has norms between the inner projections.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{ConvSpec, DecoderSpec, Head, LayerSpec, MambaNorms, MambaSpec, Names, NormAt, SubLayer};
use crate::nn::{NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: i32,
    hidden_size: i32,
    intermediate_size: i32,
    state_size: i32,
    num_hidden_layers: i32,
    conv_kernel: i32,
    use_bias: bool,
    use_conv_bias: bool,
    time_step_rank: Value,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    use_bcdt_rms: bool,
    #[serde(default = "mixer_eps")]
    mixer_rms_eps: f32,
}

fn mixer_eps() -> f32 {
    1e-6
}

/// A rank, or `"auto"`.
pub fn rank(value: &Value, hidden: i32) -> i32 {
    value.as_f64().map_or((hidden.max(1) - 1) / 16 + 1, |rank| rank as i32)
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let mamba = MambaSpec {
        name: "mixer",
        channels: c.intermediate_size,
        state_size: c.state_size,
        rank: rank(&c.time_step_rank, c.hidden_size),
        conv: ConvSpec::silu(c.conv_kernel, c.use_conv_bias),
        bias: c.use_bias,
        norms: match c.use_bcdt_rms || c.model_type == "falcon_mamba" {
            true => MambaNorms::Bare(c.mixer_rms_eps),
            false => MambaNorms::None,
        },
    };
    // The reference leaves all other norms their default.
    let norm = NormSpec { kind: NormKind::Rms, eps: 1e-5 };
    let layer = LayerSpec::mixer_only(SubLayer::bare(mamba).before("norm", norm));
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(true));
    Ok(DecoderSpec {
        norm: NormAt { name: "backbone.norm_f", spec: norm },
        names: Names { embedding: "backbone.embeddings", layers: "backbone.layers", ..Names::default() },
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, head)
    })
}
