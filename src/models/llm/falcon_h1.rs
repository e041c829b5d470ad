//! Falcon-H1: attention and Mamba 2 side by side in every layer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    ConvSpec, DecoderSpec, GatedSpec, Head, LayerSpec, Mamba2Spec, MambaGate, NormAt, Pair, SubLayer,
};

#[derive(Deserialize)]
struct Config {
    mamba_n_heads: i32,
    mamba_d_head: i32,
    mamba_d_state: i32,
    mamba_d_conv: i32,
    mamba_n_groups: i32,
    mamba_conv_bias: bool,
    mamba_proj_bias: bool,
    projectors_bias: bool,
    mamba_rms_norm: bool,
    mamba_norm_before_gate: bool,
    embedding_multiplier: f32,
    lm_head_multiplier: f32,
}

/// With defaults for what is left out.
pub fn complete(config: &Value) -> Value {
    let defaults = json!({
        "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32784, "rms_norm_eps": 1e-5, "rope_theta": 1e11,
        "max_position_embeddings": 131_072, "tie_word_embeddings": true, "mamba_n_heads": 24, "mamba_d_head": 64,
        "mamba_d_state": 128, "mamba_d_conv": 4, "mamba_n_groups": 1, "mamba_conv_bias": true,
        "mamba_proj_bias": false, "projectors_bias": false, "mamba_rms_norm": false, "mamba_norm_before_gate": false,
        "attention_in_multiplier": 1.0, "attention_out_multiplier": 0.9375,
        "embedding_multiplier": 5.656_854_249_492_381, "key_multiplier": 0.390_625,
        "lm_head_multiplier": 0.039_062_5, "mlp_multipliers": [0.883_883_476_483_184_4, 0.585_937_5],
        "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.235_702_260_395_515_87,
        "ssm_multipliers": [0.353_553_390_593_273_8, 0.25, 0.353_553_390_593_273_8, 0.5, 0.353_553_390_593_273_8],
    });
    config::with_defaults(config, defaults)
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &complete(config);
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let groups = own.mamba_n_groups;
    let mamba = Mamba2Spec {
        name: "mamba",
        heads: own.mamba_n_heads,
        head_dim: own.mamba_d_head,
        groups,
        state_size: own.mamba_d_state,
        conv: ConvSpec::silu(own.mamba_d_conv, own.mamba_conv_bias),
        input_bias: own.mamba_proj_bias,
        output_bias: own.projectors_bias,
        step: (0.0, f32::INFINITY),
        // By groups as in transformers; the reference normalises all features together.
        gate: match (own.mamba_rms_norm, own.mamba_norm_before_gate) {
            (false, _) => MambaGate::Plain,
            (true, false) => MambaGate::ThenNorm { eps: norm.eps, groups },
            (true, true) => MambaGate::AfterNorm { eps: norm.eps, groups },
        },
    };
    let ffn = GatedSpec { name: "feed_forward", ..llama::ffn(&c) };
    let layer = LayerSpec::new(
        SubLayer::bare(Pair(llama::attention(&c)?, mamba)).before("input_layernorm", norm),
        SubLayer::bare(ffn).before("pre_ff_layernorm", norm),
    );
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(true));
    // mlx-lm folds the multipliers into the weights: that of the embedding is then in a tied output layer too.
    let scale = (head == Head::Tied).then_some(own.lm_head_multiplier / own.embedding_multiplier);
    Ok(DecoderSpec {
        norm: NormAt { name: "model.final_layernorm", spec: norm },
        head,
        logit_scale: scale,
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
