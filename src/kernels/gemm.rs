//! gemm in f32: a panel of unpacked weights, multiplied with all rows of input.

use super::floats::Floats;
use super::input::Input;
use super::level::Level;
use super::matrix::{Matrix, Values};
use super::scratch::with_scratch;

/// `tile[i * n + j] = x[i] . W[from + j]`
pub(super) fn gemm(level: Level, w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let (m, k) = (input.m, input.k);
    // `panel` is n x k: the product with its transpose.
    let multiply =
        |panel: &[f32], tile: &mut [f32]| matmul((m, k, n), &input.natural, (k, 1), panel, (1, k), tile, n, false);
    if let Values::Dense(Floats::F32(values)) = w.values {
        return multiply(&values[from * k..(from + n) * k], tile);
    }
    with_scratch(n * k, |panel| {
        for (j, row) in panel.chunks_exact_mut(k).enumerate() {
            w.row(level, from + j, row);
        }
        multiply(panel, tile);
    });
}

/// `out = a b`, or `out += a b`, for `(m, k, n)`; inputs come with the strides of their rows and columns, and rows of
/// `out` are `ld` apart. On the calling thread alone.
pub(super) fn matmul(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    sa: (usize, usize),
    b: &[f32],
    sb: (usize, usize),
    out: &mut [f32],
    ld: usize,
    add: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(a.len() > (m - 1) * sa.0 + (k - 1) * sa.1, "first matrix");
    assert!(b.len() > (k - 1) * sb.0 + (n - 1) * sb.1, "second matrix");
    assert!(out.len() >= (m - 1) * ld + n, "product");
    let i = |n: usize| n as isize;
    let beta = if add { 1.0 } else { 0.0 };
    // SAFETY: the last element of each matrix is within its slice, and `out` is not one of the inputs.
    unsafe {
        let (a, b, out) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, i(sa.0), i(sa.1), b, i(sb.0), i(sb.1), beta, out, i(ld), 1);
    }
}
