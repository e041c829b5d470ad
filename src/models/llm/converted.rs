//! What mlx-lm changes when it converts models with recurrent layers. Such a checkpoint is told from a published one
//! by its convolutions.

use serde_json::Value;

use crate::error::Result;
use crate::weights::Weights;

/// Whether a convolution is stored as published.
pub fn has_published_convolutions(w: &Weights) -> bool {
    w.names().iter().filter(|name| name.ends_with("conv1d.weight")).any(|name| {
        let shape = w.shape(name);
        shape.is_some_and(|shape| shape.last() != Some(&1))
    })
}

/// `1 + weight` of all norms that are published without the 1.
pub fn add_one_to_norms(w: &Weights) -> Result<()> {
    const NORMS: [&str; 5] = [
        ".input_layernorm.weight",
        ".post_attention_layernorm.weight",
        "model.norm.weight",
        ".q_norm.weight",
        ".k_norm.weight",
    ];
    w.amend(|name| NORMS.iter().any(|norm| name.ends_with(norm)), |_, weight| weight + 1.0)
}

/// Granite 4. The shared expert is beside the mixture; published models without experts have nothing but it.
pub fn granite(config: &Value, w: &Weights) -> Result<()> {
    let sparse = config.get("num_local_experts").and_then(Value::as_f64).is_some_and(|n| n > 0.0);
    for name in w.names() {
        let Some(path) = name.strip_suffix("input_linear.weight") else { continue };
        let to = match (path.strip_suffix("shared_mlp."), path.ends_with("block_sparse_moe.")) {
            (Some(layer), _) if !sparse => format!("{layer}mlp"),
            (_, true) if sparse => format!("{path}switch_mlp"),
            _ => continue,
        };
        w.split(&name, -2, &[format!("{to}.gate_proj.weight"), format!("{to}.up_proj.weight")])?;
        w.split(&format!("{path}output_linear.weight"), -2, &[format!("{to}.down_proj.weight")])?;
    }
    w.rename(|name| Some(name.replace(".shared_mlp.", ".block_sparse_moe.shared_mlp.")))
}
