//! Argmax of rows.

use std::sync::atomic::{AtomicU32, Ordering};

use mlx_engine_kernels::{Level, argmax as argmax_of_rows};

use super::common::active;
use super::inputs::one;
use crate::array::{Array, Dtype, host};
use crate::error::Result;

/// The place of the largest number of each row, u32 of the shape of `x` without its last axis.
pub fn argmax(x: &Array) -> Option<Result<Array>> {
    let floats = matches!(x.dtype(), Dtype::F32 | Dtype::F16 | Dtype::Bf16);
    if !active() || !floats || x.size() == 0 {
        return None;
    }
    let (&columns, rows) = x.shape().split_last()?;
    Some(run(x, columns, rows))
}

fn run(x: &Array, columns: i32, rows: &[i32]) -> Result<Array> {
    one(host::operation(
        &[x],
        &[(rows, Dtype::U32)],
        Box::new(move |ins, outs| {
            let places: Vec<AtomicU32> = (0..ins[0].rows()).map(|_| AtomicU32::new(0)).collect();
            let found = |row: usize, place: usize| places[row].store(place as u32, Ordering::Relaxed);
            argmax_of_rows(Level::get(), ins[0].floats().get(), columns as usize, &found);
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].bytes_mut() };
            for (out, place) in out.chunks_exact_mut(4).zip(places) {
                out.copy_from_slice(&place.into_inner().to_ne_bytes());
            }
        }),
    )?)
}
