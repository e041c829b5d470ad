//! What is known about a model once it is loaded.

use std::path::PathBuf;

use serde::Serialize;

/// Facts about a loaded model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelInfo {
    /// The id or directory it was loaded from.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// The `model_type` whose code runs it, if it is another.
    pub alias_of: Option<&'static str>,
    /// What it is for: `text`.
    pub kind: &'static str,
    /// Weights, counted as if they were not quantized.
    pub parameters: u64,
    /// How most of its weights are quantized.
    pub quantization: Option<QuantizationInfo>,
    /// The longest sequence it was made for, in tokens.
    pub context_length: Option<i32>,
    /// Rows of its output layer.
    pub vocab_size: i32,
    /// Transformer layers.
    pub layers: Option<u64>,
    /// Features of the residual stream.
    pub hidden_size: Option<u64>,
    /// Bytes of its weight files.
    pub weight_bytes: u64,
    /// How many weight files there are.
    pub weight_files: usize,
    /// Whether it has a chat template.
    pub has_chat_template: bool,
    /// Why its chat template cannot be used, if it cannot.
    pub chat_template_error: Option<String>,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Where it computes: `cpu` or `gpu`.
    pub device: &'static str,
    /// Seconds that loading took.
    pub load_seconds: f64,
}

/// How weights are quantized.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizationInfo {
    /// `affine`, `mxfp4`, ...
    pub mode: &'static str,
    /// Bits a weight.
    pub bits: i32,
    /// Weights that share a scale.
    pub group_size: i32,
}
