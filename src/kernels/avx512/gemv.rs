//! gemv: few rows of input, each a dot product with every row of weights.

use super::gemv_dense::gemv_dense;
use super::gemv_quantized::gemv_quantized;
use crate::input::Input;
use crate::matrix::{Matrix, Values};

/// `tile[i * n + j] = x[i] . W[from + j]` for up to [`FEW`](crate::blocking::FEW) rows of input.
pub fn gemv(w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    assert!(tile.len() == input.m * n && from + n <= w.rows);
    match (w.grouped(), w.values) {
        (Some(q), _) => gemv_quantized(&q, from, n, input, tile),
        (None, Values::Dense(values)) => gemv_dense(values, from, n, input, tile),
        (None, _) => unreachable!("codes come in groups"),
    }
}
