//! Stacks of arrays.

use super::common::active;
use super::inputs::one;
use crate::array::{Array, host};
use crate::error::Result;

/// Stacks arrays of one shape and type along a new first axis, wherever they are in memory.
pub fn stack(arrays: &[Array]) -> Option<Result<Array>> {
    let first = arrays.first()?;
    let alike = arrays.iter().all(|a| a.shape() == first.shape() && a.dtype() == first.dtype());
    (active() && alike).then(|| run(arrays, first))
}

fn run(arrays: &[Array], first: &Array) -> Result<Array> {
    let mut shape = vec![arrays.len() as i32];
    shape.extend(first.shape());
    let inputs: Vec<&Array> = arrays.iter().collect();
    one(host::operation(
        &inputs,
        &[(&shape, first.dtype())],
        Box::new(|ins, outs| {
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].bytes_mut() };
            let size = out.len() / ins.len();
            if size > 0 {
                out.chunks_exact_mut(size).zip(ins).for_each(|(to, from)| to.copy_from_slice(from.bytes()));
            }
        }),
    )?)
}
