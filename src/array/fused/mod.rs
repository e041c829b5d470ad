//! Fused operations: what a layer does, in as few operations as this machine can.
//!
//! Each function takes a description made of [`terms`], tries the back ends in order (CUDA, CPU), and falls back to
//! MLX's own operations. All of them work everywhere, and callers do not know which back end ran.

mod argmax;
mod attend;
mod attention;
pub(super) mod buffer;
mod embedding;
mod experts;
mod linear;
mod norm;
mod recurrence;
mod rotate;
mod stack;
pub(super) mod terms;

pub use argmax::argmax;
pub use attend::{attend, heads, merged, over, query_heads};
pub use attention::{attention, attention_quantized};
pub use buffer::{KvBuffer, STEP};
pub use embedding::embedding;
pub use experts::experts;
pub use linear::linear;
pub use norm::norm;
pub use recurrence::{convolve, recur};
pub use rotate::rotate;
pub use stack::stack;
pub use terms::activation::Activation;
pub use terms::at::At;
pub use terms::attention::{Attention, HeadNorms, Past, Scores, Values};
pub use terms::linear::{Epilogue, Linear};
pub use terms::mask::{Mask, causal_mask};
pub use terms::mixture::{Mixture, RouterSoftmax, Routes};
pub use terms::norm::{Norm, NormKind};
pub use terms::offset::Offset;
pub use terms::recurrence::{Convolution, Recurrence};
pub use terms::rotation::{Rotation, Turns};
pub use terms::weight::{Part, Weight};

use super::device::{self, Device};
use super::{cpu, cuda};

/// Whether a fused projection is better split: where several matrices over one input are one operation.
pub fn takes_parts(weight: &Weight<'_>) -> bool {
    (cpu::active() && cpu::supports(weight)) || cuda::supports(weight)
}

/// Whether attention of several sequences, each with its own buffer, is one operation.
pub fn takes_rows_apart() -> bool {
    cpu::active()
}

/// Whether matmuls with quantized weights in half precision are as accurate as their type: MLX's own are not on a CPU.
pub fn is_accurate_in_half() -> bool {
    device::device() == Device::Gpu || cpu::active()
}
