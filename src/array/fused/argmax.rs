//! Argmax of rows.

use crate::array::{Array, cpu};
use crate::error::Result;

/// The index of the largest number along the last axis (the first of equals), u32 of the shape of `x` without that
/// axis.
#[track_caller]
pub fn argmax(x: &Array) -> Result<Array> {
    cpu::argmax(x).unwrap_or_else(|| x.argmax(-1, false))
}
