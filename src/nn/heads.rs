//! Linear maps that each head of an attention has for itself.

use crate::array::Array;
use crate::error::Result;
use crate::weights::{Matrix, Weights};

/// `x[head] @ weight[head]^T`
pub struct Heads {
    /// `[heads, outputs, inputs]`
    weight: Matrix,
}

impl Heads {
    /// The maps at `path`, in one tensor.
    pub fn load(w: &Weights, path: &str, heads: i32, outputs: i32, inputs: i32) -> Result<Heads> {
        Ok(Heads { weight: w.matrices(path, heads, outputs, inputs)? })
    }

    /// Maps of the same `inputs`, stored as one matrix at `path`: of each head the rows of the first, then those of the
    /// second. Of the first map it gives the transposed one. Quantized ones are dequantized: groups lie along the other
    /// axis then.
    pub fn pair(w: &Weights, path: &str, heads: i32, [first, second]: [i32; 2], inputs: i32) -> Result<(Heads, Heads)> {
        let all = match w.matrix(path, heads * (first + second), inputs)? {
            Matrix::Dense(all) => all,
            Matrix::Quantized(all) => all.dequantize()?,
        };
        let all = all.reshape(&[heads, first + second, inputs])?;
        let part = |from: i32, to: i32| all.slice_axis(1, from, to);
        let dense = |weight: Array| Heads { weight: Matrix::Dense(weight) };
        Ok((dense(part(0, first)?.swap_axes(1, 2)?), dense(part(first, first + second)?)))
    }

    /// `x` is `[batch, heads, length, inputs]`, or has one head for all.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        match &self.weight {
            Matrix::Dense(weight) => x.matmul(&weight.swap_axes(-1, -2)?),
            Matrix::Quantized(weight) => weight.matmul_transposed(x),
        }
    }

    /// The transposed maps: `x[head] @ weight[head]`.
    pub fn transposed(&self, x: &Array) -> Result<Array> {
        match &self.weight {
            Matrix::Dense(weight) => x.matmul(weight),
            Matrix::Quantized(weight) => weight.matmul(x),
        }
    }
}
