//! The multipliers of Falcon-H1, which mlx-lm folds into the weights.

use serde::Deserialize;
use serde_json::Value;

use super::{converted, falcon_h1};
use crate::array::{Array, Dtype};
use crate::error::Result;
use crate::models::config;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    mamba_n_heads: i32,
    mamba_d_head: i32,
    mamba_d_state: i32,
    mamba_n_groups: i32,
    attention_in_multiplier: f32,
    attention_out_multiplier: f32,
    embedding_multiplier: f32,
    key_multiplier: f32,
    lm_head_multiplier: f32,
    mlp_multipliers: (f32, f32),
    ssm_in_multiplier: f32,
    ssm_multipliers: [f32; 5],
    ssm_out_multiplier: f32,
}

/// Folds the multipliers into the weights of a published checkpoint. The reference forgets `key_multiplier` there;
/// transformers does not.
pub fn sanitize(config: &Value, w: &Weights) -> Result<()> {
    if !converted::has_published_convolutions(w) {
        return Ok(());
    }
    falcon_h1::spec(config)?.validate()?;
    let own: Config = config::parse(&falcon_h1::complete(config))?;
    let (inner, shared) = (own.mamba_n_heads * own.mamba_d_head, own.mamba_n_groups * own.mamba_d_state);
    let rows = [inner, inner, shared, shared, own.mamba_n_heads];
    let of_rows = || -> Result<Array> {
        let sizes = rows.iter().zip(own.ssm_multipliers);
        let factors: Vec<f32> = sizes
            .flat_map(|(rows, by)| std::iter::repeat_n(by * own.ssm_in_multiplier, (*rows).max(0) as usize))
            .collect();
        Array::from_slice(&factors, &[factors.len() as i32, 1])
    };
    let factor = |name: &str| {
        let all = [
            ("embed_tokens.weight", own.embedding_multiplier),
            ("lm_head.weight", own.lm_head_multiplier),
            ("q_proj.weight", own.attention_in_multiplier),
            ("k_proj.weight", own.attention_in_multiplier * own.key_multiplier),
            ("v_proj.weight", own.attention_in_multiplier),
            ("o_proj.weight", own.attention_out_multiplier),
            ("out_proj.weight", own.ssm_out_multiplier),
            ("gate_proj.weight", own.mlp_multipliers.0),
            ("down_proj.weight", own.mlp_multipliers.1),
        ];
        all.iter().find(|(end, _)| name.ends_with(&format!(".{end}")) || name == *end).map(|(_, by)| *by)
    };
    w.amend(
        |_| true,
        |name, weight| match factor(name) {
            Some(by) => weight * by,
            None if name.ends_with(".in_proj.weight") => {
                let dtype = weight.dtype();
                (weight.astype(Dtype::F32)? * of_rows()?)?.astype(dtype)
            }
            None => Ok(weight),
        },
    )
}
