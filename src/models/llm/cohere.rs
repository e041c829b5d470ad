//! Command R: attention and feed-forward in parallel after one LayerNorm, scaled logits.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionSpec, DecoderSpec, Flow, GatedSpec, Head, HeadWeights, LayerSpec, QkNorm, SubLayer,
};
use crate::nn::{Activation, NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    layer_norm_eps: f32,
    logit_scale: f32,
    #[serde(default)]
    layer_norm_bias: bool,
    #[serde(default)]
    use_qk_norm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "hidden_size": 8192, "num_hidden_layers": 40, "intermediate_size": 22528, "num_attention_heads": 64,
            "num_key_value_heads": 64, "vocab_size": 256_000, "layer_norm_eps": 1e-5, "logit_scale": 0.0625,
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let mut rope = c.rope(head_dim, Some(8_000_000.0))?;
    rope.interleaved = true;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.bias = AttentionBias::all_if(c.attention_bias);
    if own.use_qk_norm {
        attention.qk_norm = QkNorm::EachHead { eps: own.layer_norm_eps, weights: HeadWeights::Matrix };
    }
    let kind = if own.layer_norm_bias { NormKind::LayerBias } else { NormKind::Layer };
    let norm = NormSpec { kind, eps: own.layer_norm_eps };
    let attend = SubLayer::bare(attention).before("input_layernorm", norm);
    let feed = SubLayer::bare(GatedSpec::new(c.intermediate_size, Activation::Silu));
    let layer = LayerSpec { flow: Flow::Parallel, ..LayerSpec::new(attend, feed) };
    let layers = vec![layer; c.layer_count()?];
    Ok(DecoderSpec {
        logit_scale: Some(own.logit_scale),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Tied)
    })
}
