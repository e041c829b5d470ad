//! Turning a model's logits into text.
pub mod sampling;
