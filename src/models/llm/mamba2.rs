//! Mamba 2.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{ConvSpec, DecoderSpec, Head, LayerSpec, Mamba2Spec, MambaGate, Names, NormAt, SubLayer};
use crate::nn::{NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    num_heads: i32,
    head_dim: i32,
    vocab_size: i32,
    hidden_size: i32,
    state_size: i32,
    ssm_state_size: Option<i32>,
    num_hidden_layers: i32,
    layer_norm_epsilon: f32,
    conv_kernel: i32,
    n_groups: i32,
    use_bias: bool,
    use_conv_bias: bool,
    tie_word_embeddings: bool,
    time_step_limit: (f32, f32),
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    let mamba = Mamba2Spec {
        name: "mixer",
        heads: c.num_heads,
        head_dim: c.head_dim,
        groups: c.n_groups,
        state_size: c.ssm_state_size.unwrap_or(c.state_size),
        conv: ConvSpec::silu(c.conv_kernel, c.use_conv_bias),
        input_bias: c.use_bias,
        output_bias: c.use_bias,
        step: c.time_step_limit,
        gate: MambaGate::ThenNorm { eps: c.layer_norm_epsilon, groups: 1 },
    };
    // The reference leaves the norms of layers their default.
    let norm = |eps: f32| NormSpec { kind: NormKind::Rms, eps };
    let layer = LayerSpec::mixer_only(SubLayer::bare(mamba).before("norm", norm(1e-5)));
    let layers = vec![layer; config::layer_count(c.num_hidden_layers)?];
    let last = norm(c.layer_norm_epsilon);
    Ok(DecoderSpec {
        norm: NormAt { name: "backbone.norm_f", spec: last },
        names: Names { embedding: "backbone.embeddings", layers: "backbone.layers", ..Names::default() },
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, last, Head::tied_if(c.tie_word_embeddings))
    })
}
