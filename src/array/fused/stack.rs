//! Stacks of arrays.

use crate::array::{self, Array, cpu};
use crate::error::Result;

/// Stacks arrays of one shape along a new first axis; they may lie anywhere in a mapped file.
#[track_caller]
pub fn stack(arrays: &[Array]) -> Result<Array> {
    cpu::stack(arrays).unwrap_or_else(|| array::stack(arrays, 0))
}
