//! Gemma 4, the text side: windows on most layers, larger heads on the others, layers that read the keys and values of
//! earlier ones, and, by size, embeddings for every layer or experts beside the feed-forward layer.

use serde_json::{Value, json};

use super::gemma4_layer::{Config, layer};
use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING, invalid};
use crate::models::decoder::{DecoderSpec, Head, PerLayerSpec, StateUse};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(config, defaults());
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let types = types(&c, own.sliding_window_pattern)?;
    let shared = (types.len() as i64 - own.num_kv_shared_layers).clamp(0, types.len() as i64) as usize;
    // As in the reference, no layer has wider projections where all of them would share.
    let first_wide = if own.use_double_wide_mlp && shared > 0 { shared } else { types.len() };
    let layers = types.iter().enumerate().map(|(i, kind)| {
        let mut layer = layer(&c, &own, kind, if i >= first_wide { 2 } else { 1 })?;
        if i >= shared {
            let of = types[..shared].iter().rposition(|other| other == kind);
            let of = of.ok_or_else(|| invalid(format!("num_kv_shared_layers: layer {i} has none to share with")))?;
            layer.state = StateUse::SharedWith(of);
        }
        Ok(layer)
    });
    let layers = layers.collect::<Result<_>>()?;
    let (vocab_size, size, eps) = (own.vocab_size_per_layer_input, own.hidden_size_per_layer_input, c.rms_norm()?.eps);
    Ok(DecoderSpec {
        embedding_scale: Some((c.hidden_size as f32).sqrt()),
        per_layer: (size > 0).then_some(PerLayerSpec { vocab_size, size, eps }),
        logit_softcap: Some(own.final_logit_softcapping),
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(
            c.vocab_size,
            c.hidden_size,
            layers,
            c.rms_norm()?,
            Head::tied_if(c.tie_word_embeddings.unwrap_or(true)),
        )
    })
}

/// `layer_types`, or full attention in every `pattern`-th layer.
fn types(c: &Common, pattern: i32) -> Result<Vec<String>> {
    config::size("sliding_window_pattern", pattern, 4096)?;
    let count = c.layer_count()? as i32;
    let usual = || (1..=count).map(|i| if i % pattern == 0 { FULL } else { SLIDING }.to_owned()).collect();
    let types: Vec<String> = c.layer_types.clone().unwrap_or_else(usual);
    config::layer_count(types.len() as i32)?;
    match types.iter().find(|kind| *kind != FULL && *kind != SLIDING) {
        Some(kind) => Err(invalid(format!("layer_types: {kind:?} is unknown"))),
        None => Ok(types),
    }
}

/// Those of mlx-lm 0.32.2.
fn defaults() -> Value {
    json!({
        "hidden_size": 1536, "num_hidden_layers": 35, "intermediate_size": 6144, "num_attention_heads": 8,
        "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512, "rms_norm_eps": 1e-6,
        "vocab_size": 262_144, "vocab_size_per_layer_input": 262_144, "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 20, "sliding_window": 512, "sliding_window_pattern": 5,
        "max_position_embeddings": 131_072, "attention_k_eq_v": false, "final_logit_softcapping": 30.0,
        "use_double_wide_mlp": true, "enable_moe_block": false,
        "rope_parameters": {
            FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
            SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
        },
    })
}
