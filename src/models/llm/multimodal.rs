//! The text side of checkpoints that can see or hear too.

use serde_json::Value;

use crate::error::Result;
use crate::weights::Weights;

/// What is not part of the text side, at the top level or within `model`.
const OTHERS: &[&str] = &[
    "audio_tower",
    "embed_audio",
    "embed_vision",
    "mm_projector",
    "multi_modal_projector",
    "vision_adapter",
    "vision_embedder",
    "vision_model",
    "vision_projection",
    "vision_tower",
    "visual",
];

/// Drops everything else, and gives the text side the names that it would have alone: some releases put it within
/// `language_model`, some that within `model`.
pub fn text_side(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| {
        let bare = name.strip_prefix("model.").unwrap_or(name);
        if OTHERS.iter().any(|other| bare.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'))) {
            return None;
        }
        let Some(text) = bare.strip_prefix("language_model.") else { return Some(name.to_owned()) };
        match text.starts_with("model.") || text.starts_with("lm_head.") {
            true => Some(text.to_owned()),
            false => Some(format!("model.{text}")),
        }
    })
}
