//! Qwen 3.5: Qwen3-Next with projections that are stored one by one, perhaps without experts. Of multimodal
//! checkpoints this is the text side.

use serde_json::{Value, json};

use super::{converted, qwen3_next};
use crate::error::Result;
use crate::models::config;
use crate::models::decoder::{DecoderSpec, DeltaProjections};
use crate::weights::Weights;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 151_936, "rms_norm_eps": 1e-6, "max_position_embeddings": 131_072,
            "linear_num_value_heads": 64, "linear_num_key_heads": 16, "linear_key_head_dim": 192,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "norm_topk_prob": true,
            "rope_theta": 100_000.0, "partial_rotary_factor": 0.25,
        }),
    );
    qwen3_next::decoder(config, DeltaProjections::Separate)
}

/// Published as `model.language_model` beside `model.visual`, converted by mlx-lm to `language_model.model`.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| {
        let dropped = ["vision_tower.", "model.visual.", "visual.", "mtp."].iter().any(|part| name.starts_with(part));
        if dropped || name.contains(".mtp.") {
            return None;
        }
        let own = name.strip_prefix("language_model.").unwrap_or(name);
        Some(own.strip_prefix("model.language_model.").map_or_else(|| own.to_owned(), |rest| format!("model.{rest}")))
    })?;
    // Experts as transformers 5 stores them.
    for name in w.names() {
        let Some(path) = name.strip_suffix(".experts.gate_up_proj") else { continue };
        let part = |name: &str| format!("{path}.switch_mlp.{name}_proj.weight");
        w.split(&name, -2, &[part("gate"), part("up")])?;
        w.split(&format!("{path}.experts.down_proj"), -2, &[part("down")])?;
    }
    match converted::has_published_convolutions(w) {
        true => converted::add_one_to_norms(w),
        false => Ok(()),
    }
}
