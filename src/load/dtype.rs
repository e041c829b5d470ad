//! Types of weights.

use serde::{Deserialize, Serialize};

/// What floating-point weights are converted to on loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDtype {
    /// As stored; except that on a CPU the scales of a quantized model become f32 where MLX's own kernels compute, which
    /// accumulate in the type of the scales and are badly inaccurate in bf16.
    #[default]
    Auto,
    /// As stored.
    Stored,
    /// 32-bit floating point.
    F32,
    /// IEEE 16-bit floating point.
    F16,
    /// bfloat16.
    Bf16,
}
