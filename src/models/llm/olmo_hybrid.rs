//! OLMo hybrid: the gated delta rule in most layers, attention with norms of its results in the others.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, FULL};
use crate::models::decoder::{
    AttentionSpec, ConvSpec, DecoderSpec, DeltaProjections, GatedDeltaSpec, GatedSpec, Head, LayerSpec, QkNorm,
    SubLayer,
};
use crate::nn::{Activation, NormSpec};

#[derive(Deserialize)]
struct Config {
    linear_num_key_heads: i32,
    linear_num_value_heads: i32,
    linear_key_head_dim: i32,
    linear_value_head_dim: i32,
    linear_conv_kernel_dim: i32,
    linear_allow_neg_eigval: bool,
    layer_norm_epsilon: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, json!({"layer_norm_epsilon": 1e-5}));
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let mut attention = AttentionSpec { qk_norm: QkNorm::Projection(norm), ..llama::attention(&c)? };
    // As in transformers: without a base there are no positions.
    if config.pointer("/rope_parameters/rope_theta").is_none() {
        attention.rope = None;
    }
    let delta = GatedDeltaSpec {
        name: "linear_attn",
        key_heads: own.linear_num_key_heads,
        value_heads: own.linear_num_value_heads,
        key_dim: own.linear_key_head_dim,
        value_dim: own.linear_value_head_dim,
        conv: ConvSpec::silu(own.linear_conv_kernel_dim, false),
        norm: NormSpec { eps: own.layer_norm_epsilon, ..norm },
        most: if own.linear_allow_neg_eigval { 2.0 } else { 1.0 },
        projections: DeltaProjections::ByOperand,
    };
    let ffn = GatedSpec::new(c.intermediate_size, Activation::Silu);
    let attends = |i: usize| match &c.layer_types {
        Some(types) => types.get(i).is_some_and(|kind| kind == FULL),
        None => i % 4 == 3,
    };
    let layer = |i: usize| match attends(i) {
        true => LayerSpec::new(
            SubLayer::bare(attention.clone()).after("post_attention_layernorm", norm),
            SubLayer::bare(ffn.clone()).after("post_feedforward_layernorm", norm),
        ),
        false => LayerSpec::pre_norm(delta.clone(), ffn.clone(), norm),
    };
    let layers = (0..c.layer_count()?).map(layer).collect();
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(false));
    Ok(DecoderSpec { head, ..llama::decoder(&c, layers)? })
}
