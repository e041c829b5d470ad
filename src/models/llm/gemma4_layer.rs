//! A layer of Gemma 4.

use serde::Deserialize;

use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING};
use crate::models::decoder::{
    AttentionNames, AttentionSpec, BesideSpec, GatedSpec, LayerSpec, PerLayerGate, QkNorm, QkvNames,
};
use crate::nn::Activation;

#[derive(Deserialize)]
pub struct Config {
    pub global_head_dim: i32,
    pub num_global_key_value_heads: Option<i32>,
    pub num_kv_shared_layers: i64,
    pub sliding_window: i32,
    pub sliding_window_pattern: i32,
    pub attention_k_eq_v: bool,
    pub use_double_wide_mlp: bool,
    pub hidden_size_per_layer_input: i32,
    pub vocab_size_per_layer_input: i32,
    pub final_logit_softcapping: f32,
    pub enable_moe_block: bool,
    pub num_experts: Option<i32>,
    pub top_k_experts: Option<i32>,
    pub moe_intermediate_size: Option<i32>,
}

/// A layer of this type, its feed-forward part `widths` times as wide as configured.
pub fn layer(c: &Common, own: &Config, kind: &str, widths: i32) -> Result<LayerSpec> {
    let (full, norm) = (kind == FULL, c.rms_norm()?);
    let head_dim = if full && own.global_head_dim > 0 { own.global_head_dim } else { c.head_dim()? };
    let keys_are_values = full && own.attention_k_eq_v;
    let kv_heads = own.num_global_key_value_heads.filter(|_| keys_are_values).unwrap_or(c.kv_heads());
    let rope = if full { c.rope(head_dim, Some(10_000.0))? } else { c.rope_of(SLIDING, head_dim, Some(10_000.0))? };
    let mut attention = AttentionSpec::new(c.num_attention_heads, kv_heads, head_dim, rope);
    attention.scale = 1.0;
    attention.window = (!full).then_some(own.sliding_window);
    attention.qk_norm = QkNorm::Head(norm);
    attention.value_norm = Some(norm.eps);
    if keys_are_values {
        attention.names = AttentionNames { qkv: QkvNames::KeysAreValues(["q_proj", "k_proj"]), ..attention.names };
    }
    let dense = GatedSpec::new(c.intermediate_size.saturating_mul(widths), Activation::GeluTanh);
    let mut layer = LayerSpec::sandwich(attention, dense.clone(), norm);
    if own.enable_moe_block {
        layer.feed.before = None;
        layer.feed.what = BesideSpec {
            dense,
            num_experts: config::required("num_experts", own.num_experts)?,
            top_k: config::required("top_k_experts", own.top_k_experts)?,
            expert_size: config::required("moe_intermediate_size", own.moe_intermediate_size)?,
            eps: norm.eps,
        }
        .into();
    }
    let size = own.hidden_size_per_layer_input;
    layer.per_layer = (size > 0).then_some(PerLayerGate { size, eps: norm.eps });
    layer.scale = Some("layer_scalar");
    Ok(layer)
}
