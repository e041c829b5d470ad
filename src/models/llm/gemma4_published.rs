//! Checkpoints of Gemma 4 as they are published.

use serde_json::Value;

use super::multimodal;
use crate::error::Result;
use crate::weights::Weights;

/// Drops the other senses and the ranges of activations; published experts have gate and up in one tensor.
pub fn sanitize(config: &Value, w: &Weights) -> Result<()> {
    const RANGES: [&str; 4] = ["input_max", "input_min", "output_max", "output_min"];
    multimodal::text_side(config, w)?;
    w.rename(|name| (!RANGES.iter().any(|range| name.ends_with(range))).then(|| name.to_owned()))?;
    w.rename(|name| match name.strip_suffix(".experts.down_proj") {
        Some(path) => Some(format!("{path}.experts.switch_glu.down_proj.weight")),
        None => Some(name.to_owned()),
    })?;
    for name in w.names() {
        if let Some(path) = name.strip_suffix(".gate_up_proj").filter(|path| path.ends_with(".experts")) {
            let parts = ["gate_proj", "up_proj"].map(|part| format!("{path}.switch_glu.{part}.weight"));
            w.split(&name, -2, &parts)?;
        }
    }
    Ok(())
}
