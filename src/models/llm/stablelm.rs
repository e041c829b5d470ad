//! StableLM 2: LayerNorm with bias, rotation of a part of each head, optional norms of each head.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionBias, AttentionNames, AttentionSpec, DecoderSpec, Flow, GatedSpec, Head, HeadWeights, LayerSpec, QkNorm,
};
use crate::nn::{Activation, NormKind, NormSpec};

#[derive(Deserialize)]
struct Config {
    use_qkv_bias: bool,
    layer_norm_eps: f32,
    #[serde(default)]
    use_parallel_residual: bool,
    #[serde(default)]
    qk_layernorm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"partial_rotary_factor": 0.25}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, None)?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    if own.use_qkv_bias {
        attention.bias = AttentionBias::Qkv;
    }
    if own.qk_layernorm {
        attention.qk_norm = QkNorm::EachHead { eps: own.layer_norm_eps, weights: HeadWeights::List };
        attention.names = AttentionNames { qk_norm: ["q_layernorm", "k_layernorm"], ..attention.names };
    }
    let norm = NormSpec { kind: NormKind::LayerBias, eps: own.layer_norm_eps };
    let mut layer = LayerSpec::pre_norm(attention, GatedSpec::new(c.intermediate_size, Activation::Silu), norm);
    if own.use_parallel_residual {
        layer.flow = Flow::Parallel;
        layer.feed.before = None;
    }
    let layers = vec![layer; c.layer_count()?];
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, norm, Head::Separate)
    })
}
