//! gemv in portable code: few rows of input, each a dot product with every row of weights, which are unpacked one at a
//! time.

use super::input::Input;
use super::level::{Level, fma, multiversion};
use super::matrix::Matrix;
use super::scratch::with_scratch;

/// `tile[i * n + j] = x[i] . W[from + j]`
pub(super) fn gemv(level: Level, w: &Matrix<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    let (m, k) = (input.m, input.k);
    with_scratch(k, |row| {
        for j in 0..n {
            w.row(level, from + j, row);
            for i in 0..m {
                tile[i * n + j] = dot(level, row, &input.natural[i * k..(i + 1) * k]);
            }
        }
    });
}

multiversion! {
    fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; 32];
        let (wa, ra) = a.as_chunks::<32>();
        let (wb, rb) = b.as_chunks::<32>();
        for (a, b) in wa.iter().zip(wb) {
            for i in 0..32 {
                sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
            }
        }
        let mut total = 0.0;
        for i in 0..16 {
            total += sums[i] + sums[i + 16];
        }
        ra.iter().zip(rb).fold(total, |t, (a, b)| fma::<FMA>(*a, *b, t))
    }
}
