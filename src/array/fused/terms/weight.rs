//! Weight matrices.

use crate::array::Array;
use crate::array::quant::Quantized;

/// A weight matrix, `[rows, columns]`, or a stack of them.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Plain numbers.
    Dense(&'a Array),
    /// Codes and scales.
    Quantized(&'a Quantized),
}

impl<'a> Weight<'a> {
    /// Rows of all matrices.
    pub fn rows(&self) -> i32 {
        let shape = match self {
            Weight::Dense(w) => w.shape(),
            Weight::Quantized(q) => q.packed.shape(),
        };
        shape.split_last().map_or(0, |(_, rows)| rows.iter().fold(1, |n: i32, &d| n.saturating_mul(d)))
    }

    /// Columns of each.
    pub fn columns(&self) -> i32 {
        match self {
            Weight::Dense(w) => w.dim(-1),
            Weight::Quantized(q) => q.packed.dim(-1) * 32 / q.scheme.bits,
        }
    }

    /// Its arrays.
    pub(in crate::array) fn push_to(&self, inputs: &mut Vec<&'a Array>) {
        match self {
            Weight::Dense(w) => inputs.push(w),
            Weight::Quantized(q) => {
                inputs.extend([&q.packed, &q.scales]);
                inputs.extend(q.biases.as_ref());
            }
        }
    }
}

/// A matrix and its bias.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// `[rows, columns]`
    pub weight: Weight<'a>,
    /// A plain weight, transposed: made once, so that no step has to make it again.
    pub transposed: Option<&'a Array>,
    /// `[rows]`
    pub bias: Option<&'a Array>,
}

impl<'a> Part<'a> {
    /// A weight alone.
    pub fn of(weight: Weight<'a>) -> Part<'a> {
        Part { weight, transposed: None, bias: None }
    }
}
