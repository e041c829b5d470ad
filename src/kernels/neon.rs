//! Products in NEON, by hand, and with what later processors add to it (see [`Level`]).
//!
//! A few rows of input: weights are unpacked in registers and used for all of them, several rows of weights at a time.
//! NEON itself is part of every target that this is compiled for; what goes beyond it stands in functions that say so.

use super::Level;
use super::floats::Floats;
use super::product::{Matrix, Values};
use super::tile::Prepared;

/// Calls `$f::<R, M, ..>` with `$r` rows of weights and `$m` rows of input as constants.
macro_rules! for_sizes {
    ($f:ident, $r:expr, $m:expr, [$($more:expr),*], $args:tt) => {
        match ($r, $m) {
            (4, 1) => $f::<4, 1, $({ $more }),*> $args,
            (2, 1) => $f::<2, 1, $({ $more }),*> $args,
            (2, 2) => $f::<2, 2, $({ $more }),*> $args,
            (2, 3) => $f::<2, 3, $({ $more }),*> $args,
            (2, 4) => $f::<2, 4, $({ $more }),*> $args,
            (1, 1) => $f::<1, 1, $({ $more }),*> $args,
            (1, 2) => $f::<1, 2, $({ $more }),*> $args,
            (1, 3) => $f::<1, 3, $({ $more }),*> $args,
            (1, 4) => $f::<1, 4, $({ $more }),*> $args,
            _ => unreachable!("up to 4 rows"),
        }
    };
}

mod codes;
mod dense;
mod many;
mod quantized;

pub(super) use many::{many as many_bf16, scores, weigh as weigh_many};

/// `tile[i * n + j] = x[i] . W[from + j]` for up to [`FEW`](super::tile::FEW) rows of input.
pub(super) fn few(level: Level, w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    assert!(tile.len() == p.m * n && from + n <= w.rows);
    match (w.grouped(), w.values) {
        (Some(q), _) => quantized::few(level, &q, from, n, p, tile),
        (None, Values::Dense(Floats::F32(v))) => dense::few::<{ dense::F32 }>(v.as_ptr().cast(), from, n, p, tile),
        (None, Values::Dense(Floats::F16(v))) => dense::few::<{ dense::F16 }>(v.as_ptr().cast(), from, n, p, tile),
        (None, Values::Dense(Floats::Bf16(v))) => dense::few::<{ dense::BF16 }>(v.as_ptr().cast(), from, n, p, tile),
        (None, _) => unreachable!("codes come in groups"),
    }
}

/// Rows of weights at a time with `m` rows of input.
fn most(m: usize) -> usize {
    if m == 1 { 4 } else { 2 }
}
