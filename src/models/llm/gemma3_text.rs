//! Gemma 3, text only: sliding windows on most layers, each kind of layer with its own RoPE.

use serde::Deserialize;
use serde_json::{Value, json};

use super::gemma;
use crate::error::{Error, Result};
use crate::models::config::{self, Common, FULL, SLIDING};
use crate::models::decoder::{AttentionSpec, DecoderSpec, GatedSpec, Head, LayerSpec, QkNorm};
use crate::nn::Activation;

#[derive(Deserialize)]
struct Config {
    query_pre_attn_scalar: f32,
    sliding_window_pattern: i32,
    sliding_window: i32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    // Those of the 1B model, whose published configuration leaves many keys out.
    let config = &config::with_defaults(
        config,
        json!({
            "hidden_size": 1152, "num_hidden_layers": 26, "intermediate_size": 6912, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262_144, "rms_norm_eps": 1e-6,
            "query_pre_attn_scalar": 256.0, "sliding_window": 512, "sliding_window_pattern": 6,
            "max_position_embeddings": 32_768,
        }),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let count = c.layer_count()?;
    let pattern = own.sliding_window_pattern;
    if pattern < 1 {
        return Err(Error::invalid_config(format!("config.json: sliding_window_pattern {pattern}")));
    }
    let usual = || (1..=count as i32).map(|i| if i % pattern == 0 { FULL } else { SLIDING }.to_owned()).collect();
    let types: Vec<String> = c.layer_types.clone().unwrap_or_else(usual);
    let head_dim = c.head_dim()?;
    let norm = gemma::norm(&c)?;
    let layer = |kind: &String| {
        let (rope, window) = match kind.as_str() {
            FULL => (c.rope(head_dim, Some(1_000_000.0))?, None),
            _ => (c.rope_of(SLIDING, head_dim, Some(10_000.0))?, Some(own.sliding_window)),
        };
        let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
        attention.qk_norm = QkNorm::Head(norm);
        attention.scale = own.query_pre_attn_scalar.powf(-0.5);
        attention.window = window;
        Ok(LayerSpec::sandwich(attention, GatedSpec::new(c.intermediate_size, Activation::GeluTanh), norm))
    };
    config::layer_count(types.len() as i32)?;
    let layers = types.iter().map(layer).collect::<Result<_>>()?;
    Ok(DecoderSpec {
        // The reference keeps this factor in bf16 whatever the type of the model.
        embedding_scale: Some(half::bf16::from_f32((c.hidden_size as f32).sqrt()).to_f32()),
        head: Head::SeparateIfThere,
        ..gemma::decoder(&c, layers)?
    })
}
