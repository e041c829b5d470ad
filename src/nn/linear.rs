//! Linear maps and embeddings, plain or quantized: whichever the checkpoint has.

use crate::array::Array;
use crate::array::quant::Quantized;
use crate::error::Result;
use crate::weights::{Matrix, Weights};

/// `x @ weight^T + bias`
pub struct Linear {
    weight: Matrix,
    /// A plain weight, transposed once: a view of the same memory, so that no step has to make it again.
    transposed: Option<Array>,
    bias: Option<Array>,
}

impl Linear {
    /// The layer at `path`, from `inputs` to `outputs` features.
    pub fn load(w: &Weights, path: &str, inputs: i32, outputs: i32, bias: bool) -> Result<Linear> {
        let weight = w.matrix(path, outputs, inputs)?;
        let bias = if bias { Some(w.tensor(&format!("{path}.bias"), &[outputs])?) } else { None };
        let transposed = match &weight {
            Matrix::Dense(weight) => Some(weight.transpose()?),
            Matrix::Quantized(_) => None,
        };
        Ok(Linear { weight, transposed, bias })
    }

    /// `x` is `[.., inputs]`; the result `[.., outputs]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let y = match (&self.weight, &self.transposed) {
            (_, Some(transposed)) => x.matmul(transposed)?,
            (weight, None) => matmul_transposed(weight, x)?,
        };
        match &self.bias {
            Some(bias) => y + bias,
            None => Ok(y),
        }
    }
}

fn matmul_transposed(weight: &Matrix, x: &Array) -> Result<Array> {
    match weight {
        Matrix::Dense(weight) => x.matmul(&weight.transpose()?),
        Matrix::Quantized(weight) => weight.matmul_transposed(x),
    }
}

/// A table with one row of features a token.
pub struct Embedding {
    weight: Matrix,
}

impl Embedding {
    /// The table at `path`: `rows` tokens of `features`.
    pub fn load(w: &Weights, path: &str, rows: i32, features: i32) -> Result<Embedding> {
        Ok(Embedding { weight: w.matrix(path, rows, features)? })
    }

    /// The rows of `tokens` (u32, any shape): `[.., features]`.
    pub fn forward(&self, tokens: &Array) -> Result<Array> {
        match &self.weight {
            Matrix::Dense(weight) => weight.take(tokens, 0),
            Matrix::Quantized(q) => {
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

    /// The table used as the output layer: `x @ weight^T`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        matmul_transposed(&self.weight, x)
    }
}
