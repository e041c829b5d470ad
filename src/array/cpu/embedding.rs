//! Rows of tables.

use mlx_engine_kernels::{Level, gather_rows};

use super::common::active;
use super::inputs::{Inputs, Stored, one};
use crate::array::fused::terms::weight::Weight;
use crate::array::{Array, Dtype, host};
use crate::error::Result;

/// The rows `indices` (u32, any shape) of a table: `[.., columns]`, of the type `dtype`. The caller has checked that
/// they are rows.
pub fn embedding(table: Weight<'_>, indices: &Array, dtype: Dtype) -> Option<Result<Array>> {
    let stored = Stored::of(&table)?;
    active().then(|| run(table, stored, indices, dtype))
}

fn run(table: Weight<'_>, stored: Stored, indices: &Array, dtype: Dtype) -> Result<Array> {
    let mut inputs = vec![indices];
    table.push_to(&mut inputs);
    let columns = table.columns();
    let mut shape = indices.shape().to_vec();
    shape.push(columns);
    one(host::operation(
        &inputs,
        &[(&shape, dtype)],
        Box::new(move |ins, outs| {
            let inputs = Inputs::new(ins);
            let table = stored.matrix(&inputs, 1, columns as usize);
            // SAFETY: the output of this operation.
            gather_rows(Level::get(), &table, ins[0].integers(), unsafe { outs[0].floats_mut() });
        }),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::quant::{Mode, Quantized, Scheme};

    /// Every code with every scale, except those that represent NaN or infinity.
    #[test]
    fn small_floats_read_as_mlx_reads_them() {
        for (mode, bits, group, scales) in
            [(Mode::Mxfp4, 4, 32, 0u8..=254), (Mode::Mxfp8, 8, 32, 0..=254), (Mode::Nvfp4, 4, 16, 0..=126)]
        {
            let columns = 256;
            let codes: Vec<u8> = match bits {
                4 => (0..columns / 2).map(|i| (i % 16 * 16 + i * 7 % 16) as u8).collect(),
                _ => (0..columns).map(|i| if i & 0x7f == 0x7f { 0 } else { i as u8 }).collect(),
            };
            let rows = scales.clone().count();
            let words: Vec<u32> =
                codes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four"))).collect();
            let packed = Array::from_slice(&words.repeat(rows), &[rows as i32, words.len() as i32]).unwrap();
            let groups = columns / group;
            let scales: Vec<u8> = scales.flat_map(|s| vec![s; groups]).collect();
            let scales = Array::from_slice(&scales, &[rows as i32, groups as i32]).unwrap();
            let q = Quantized { packed, scales, biases: None, scheme: Scheme { mode, bits, group_size: group as i32 } };
            let want = q.dequantize().unwrap().astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
            let indices: Vec<u32> = (0..rows as u32).collect();
            let indices = Array::from_slice(&indices, &[rows as i32]).unwrap();
            let got = embedding(Weight::Quantized(&q), &indices, Dtype::Bf16).unwrap().unwrap();
            let got = got.astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(got == want, "{mode:?}, scale {}, column {}: {got}, not {want}", i / columns, i % columns);
            }
        }
    }
}
