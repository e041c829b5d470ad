//! Buffers of keys and values: room for more.

use super::common::active;
use super::inputs::one;
use crate::array::host::{self, View};
use crate::array::{Array, Dtype};
use crate::error::Result;

/// A buffer `[rows, heads, capacity, features]` that begins with the first positions of `old`, read after `written` is
/// there; what lies beyond them is anything.
pub fn grown(old: Option<&Array>, written: Option<&Array>, shape: &[i32], dtype: Dtype) -> Option<Result<Array>> {
    if !active() {
        return None;
    }
    let inputs: Vec<&Array> = old.into_iter().chain(written.filter(|_| old.is_some())).collect();
    Some(host::operation(&inputs, &[(shape, dtype)], Box::new(copy_positions)).and_then(one))
}

/// Copies the first positions of an array into one with another number of them.
fn copy_positions(ins: &[View<'_>], outs: &[View<'_>]) {
    let Some(from) = ins.first() else { return };
    let to = &outs[0];
    let n = from.dim(2).min(to.dim(2));
    // SAFETY: the output of this operation.
    let target = unsafe { to.bytes_mut() };
    let (heads, features) = (from.dim(1), from.dim(3));
    let row = target.len().checked_div(to.dim(0) * to.dim(1) * to.dim(2)).unwrap_or(0);
    if row == 0 || n == 0 {
        return;
    }
    for (i, target) in target.chunks_exact_mut(to.dim(2) * row).enumerate() {
        let (b, h) = (i / heads, i % heads);
        // Positions side by side are copied at once.
        if from.stride(2) == features {
            target[..n * row].copy_from_slice(from.run([b, h, 0], n * features));
            continue;
        }
        for (p, target) in target.chunks_exact_mut(row).take(n).enumerate() {
            target.copy_from_slice(from.run([b, h, p], features));
        }
    }
}
