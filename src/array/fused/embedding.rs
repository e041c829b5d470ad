//! Rows of tables.

use super::terms::weight::Weight;
use crate::array::quant::Quantized;
use crate::array::{Array, Dtype, cpu};
use crate::error::Result;

/// The rows `tokens` (u32, any shape) of a table: `[.., columns]`. The caller has checked that they are rows.
#[track_caller]
pub fn embedding(table: Weight<'_>, tokens: &Array) -> Result<Array> {
    if let Some(rows) = cpu::embedding(table, tokens, dtype(&table)) {
        return rows;
    }
    match table {
        Weight::Dense(weight) => weight.take(tokens, 0),
        Weight::Quantized(q) => {
            let rows = |a: &Array| a.take(tokens, 0);
            Quantized {
                packed: rows(&q.packed)?,
                scales: rows(&q.scales)?,
                biases: q.biases.as_ref().map(rows).transpose()?,
                scheme: q.scheme,
            }
            .dequantize()
        }
    }
}

/// The type of its rows.
fn dtype(table: &Weight<'_>) -> Dtype {
    match table {
        Weight::Dense(weight) => weight.dtype(),
        Weight::Quantized(q) if q.scales.dtype().is_float() => q.scales.dtype(),
        Weight::Quantized(_) => Dtype::Bf16,
    }
}
