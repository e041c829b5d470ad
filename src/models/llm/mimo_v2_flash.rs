//! MiMo V2 Flash: attention of two kinds, with windows, sinks and sizes of their own, and the experts of DeepSeek V3.

use serde::Deserialize;
use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::{llama, published};
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionSpec, DecoderSpec, Head, LayerSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    hybrid_layer_pattern: Vec<u8>,
    moe_layer_freq: Vec<u8>,
    add_swa_attention_sink_bias: bool,
    add_full_attention_sink_bias: bool,
    sliding_window_size: i32,
    swa_num_attention_heads: i32,
    swa_num_key_value_heads: i32,
    swa_head_dim: i32,
    swa_v_head_dim: i32,
    v_head_dim: i32,
    swa_rope_theta: f32,
    attention_value_scale: Option<f32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let defaults = json!({"rms_norm_eps": config.get("layernorm_epsilon")});
    let with_defaults = config::with_defaults(config, defaults);
    // Here a list, one number per layer, which alone says where experts are.
    let own: Config = config::parse(&with_defaults)?;
    let mut rest = with_defaults;
    if let Some(map) = rest.as_object_mut() {
        map.remove("moe_layer_freq");
        map.insert("first_k_dense_replace".into(), 0.into());
    }
    let rest = &deepseek_v3::with_defaults(&rest);
    let (c, experts): (Common, Experts) = (config::parse(rest)?, config::parse(rest)?);
    let attention = |sliding: bool| -> Result<AttentionSpec> {
        let (heads, kv_heads, head_dim, value_dim, sinks) = match sliding {
            true => {
                let sinks = own.add_swa_attention_sink_bias;
                (own.swa_num_attention_heads, own.swa_num_key_value_heads, own.swa_head_dim, own.swa_v_head_dim, sinks)
            }
            false => {
                let sinks = own.add_full_attention_sink_bias;
                (c.num_attention_heads, c.kv_heads(), c.head_dim()?, own.v_head_dim, sinks)
            }
        };
        let mut rope = c.rope(head_dim, None)?;
        if sliding {
            rope.base = own.swa_rope_theta;
        }
        Ok(AttentionSpec {
            value_dim: Some(value_dim),
            value_scale: own.attention_value_scale,
            window: sliding.then_some(own.sliding_window_size),
            sinks: sinks.then_some("attention_sink_bias"),
            ..AttentionSpec::new(heads, kv_heads, head_dim, rope)
        })
    };
    let layer = |i: usize| -> Result<LayerSpec> {
        let is = |list: &[u8]| list.get(i) == Some(&1);
        let ffn = match is(&own.moe_layer_freq) {
            true => experts.ffn(&c, experts.sigmoid(), 0),
            false => llama::ffn(&c).into(),
        };
        Ok(LayerSpec::pre_norm(attention(is(&own.hybrid_layer_pattern))?, ffn, c.rms_norm()?))
    };
    let layers = (0..c.layer_count()?).map(layer).collect::<Result<_>>()?;
    Ok(DecoderSpec { head: Head::Separate, ..llama::decoder(&c, layers)? })
}

/// Drops what predicts further tokens.
pub fn sanitize(config: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| (!name.starts_with("model.mtp")).then(|| name.to_owned()))?;
    published::drop_prediction_layers(config, w)
}
