//! Conditions common to all kernels.

use std::sync::LazyLock;

use super::kernel;
use crate::array::Dtype;
use crate::array::device::{self, Device};

/// Whether kernels are wanted, and this GPU can run them: from Ampere on.
static POSSIBLE: LazyLock<bool> =
    LazyLock::new(|| !crate::env::MLXE_GPU_KERNELS.is_off() && kernel::generation().is_some_and(|n| n >= 80));

/// Whether operations of this thread may run through these kernels.
pub fn active() -> bool {
    cfg!(not(target_vendor = "apple")) && device::device() == Device::Gpu && *POSSIBLE
}

/// Whether there are kernels for numbers of this type.
pub fn floats(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Bf16 | Dtype::F16)
}

/// A number as C++ has it, exactly.
pub fn literal(value: f32) -> String {
    format!("{value:?}f")
}
