//! Rotary position embedding.

use std::sync::Arc;

use mlx_engine_kernels::{Level, Rotation as Turning};

use super::common::active;
use super::inputs::{one, unfit};
use crate::array::fused::terms::offset::Offset;
use crate::array::fused::terms::rotation::Rotation;
use crate::array::{Array, host};
use crate::error::Result;

/// A rotation as the kernels take it; `None` where it depends on the length.
pub(super) fn turning(rotation: &Rotation) -> Option<&Arc<Turning>> {
    rotation.memo.get_or_make(|| {
        Some(Arc::new(Turning {
            dims: rotation.dims as usize,
            interleaved: rotation.interleaved,
            frequencies: rotation.frequencies()?,
            magnitude: rotation.magnitude.unwrap_or(1.0),
        }))
    })
}

/// Rotates `[batch, .., length, features]`.
pub fn rotate(x: &Array, rotation: &Rotation, offset: &Offset) -> Option<Result<Array>> {
    if !active() {
        return None;
    }
    let starts = offset.starts()?;
    turning(rotation).map(|turning| run(x, turning, starts))
}

fn run(x: &Array, rotation: &Arc<Turning>, offsets: &[i32]) -> Result<Array> {
    let &[batch, .., length, features] = x.shape() else { return Err(unfit("rope", &[x])) };
    let fit = offsets.len() == 1 || offsets.len() == batch as usize;
    if rotation.dims > features as usize || !fit || offsets.iter().any(|&n| n < 0) {
        return Err(unfit("rope", &[x]));
    }
    let rotation = rotation.clone();
    let offsets: Vec<usize> = offsets.iter().map(|&n| n as usize).collect();
    one(host::operation(
        &[x],
        &[(x.shape(), x.dtype())],
        Box::new(move |ins, outs| {
            let x = ins[0].floats();
            let (length, features) = (length as usize, features as usize);
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].floats_mut() };
            rotation.rotate(Level::get(), x.get(), length, features, &offsets, out);
        }),
    )?)
}
