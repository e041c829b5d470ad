//! LFM2: gated short convolutions, and attention in some layers.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::{
    AttentionNames, AttentionSpec, ConvSpec, DecoderSpec, Ffn, GateUp, GatedSpec, Head, LayerSpec, Mixer, NormAt,
    QkNorm, ShortConvSpec, SubLayer,
};
use crate::nn::{Activation, NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    norm_eps: f32,
    conv_bias: bool,
    #[serde(rename = "conv_L_cache")]
    taps: i32,
    full_attn_idxs: Option<Vec<usize>>,
}

#[derive(Deserialize)]
struct Feed {
    block_ff_dim: Option<f64>,
    block_multiple_of: f64,
    block_ffn_dim_multiplier: Option<f64>,
    block_auto_adjust_ff_dim: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Feed) = (config::parse(config)?, config::parse(config)?);
    let mut size = own.block_ff_dim.unwrap_or(f64::from(c.intermediate_size));
    if own.block_auto_adjust_ff_dim {
        size = (2.0 * size / 3.0).floor();
        size = (size * own.block_ffn_dim_multiplier.unwrap_or(1.0)).floor();
        size = own.block_multiple_of * (size / own.block_multiple_of).ceil();
    }
    let ffn = GatedSpec {
        name: "feed_forward",
        gate_up: GateUp::Separate { gate: "w1", up: "w3" },
        down: "w2",
        ..GatedSpec::new(size as i32, Activation::Silu)
    };
    decoder(config, |_| ffn.clone().into())
}

/// With the feed-forward part that `ffn` gives each layer.
pub fn decoder(config: &Value, ffn: impl Fn(usize) -> Ffn) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = NormSpec { kind: NormKind::Rms, eps: own.norm_eps };
    let head_dim = c.head_dim()?;
    let attention = AttentionSpec {
        qk_norm: QkNorm::Head(norm),
        names: AttentionNames { output: "out_proj", qk_norm: ["q_layernorm", "k_layernorm"], ..Default::default() },
        ..AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, c.rope(head_dim, Some(1e6))?)
    };
    let conv = ShortConvSpec {
        name: "conv",
        channels: c.hidden_size,
        conv: ConvSpec { taps: own.taps, bias: own.conv_bias, activation: None },
        bias: own.conv_bias,
    };
    let attends = |i: usize| match (&own.full_attn_idxs, &c.layer_types) {
        (Some(layers), _) => layers.contains(&i),
        (None, Some(types)) => types.get(i).is_some_and(|kind| kind == FULL),
        (None, None) => false,
    };
    let layer = |i: usize| {
        let mixer: Mixer = if attends(i) { attention.clone().into() } else { conv.clone().into() };
        LayerSpec::new(
            SubLayer::bare(mixer).before("operator_norm", norm),
            SubLayer::bare(ffn(i)).before("ffn_norm", norm),
        )
    };
    let layers = (0..c.layer_count()?).map(layer).collect();
    // transformers 5 writes `tie_word_embeddings`, always true; the reference knows no separate output layer.
    Ok(DecoderSpec {
        norm: NormAt { name: "model.embedding_norm", spec: norm },
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    })
}
