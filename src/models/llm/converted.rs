//! What mlx-lm changes when it converts models with recurrent layers. Such a checkpoint is told from a published one
//! by its convolutions.

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
