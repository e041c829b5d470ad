//! Products in NEON, by hand, and with what later processors add to it (see [`Level`]).
//!
//! A few rows of input: weights are unpacked in registers and used for all of them, several rows of weights at a time.
//! NEON itself is part of every target that this is compiled for; what goes beyond it stands in functions that say so.

use super::Level;
use super::floats::Floats;
use super::product::{Matrix, Values};
use super::tile::{PIECE, Prepared};

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

/// Bytes of weights that stay in the first-level cache while all rows of input meet them.
const NEAR: usize = 16384;

/// Calls `f(j, rows, i, m)` with `rows` rows of weights from `j` on, as many as registers allow, and `m` rows of input
/// from `i` on, until all of `n` have met all of `p.m`.
fn pieces(n: usize, row_bytes: usize, p: &Prepared<'_>, mut f: impl FnMut(usize, usize, usize, usize)) {
    let near = if p.m <= PIECE { n } else { (NEAR / row_bytes.max(1)).next_multiple_of(4) };
    for start in (0..n).step_by(near.max(1)) {
        let end = (start + near).min(n);
        for i in (0..p.m).step_by(PIECE) {
            let m = PIECE.min(p.m - i);
            let most = if m == 1 { 4 } else { 2 };
            let mut j = start;
            while j < end {
                let rows = [most, 2, 1].into_iter().find(|&r| r <= end - j).expect("at least one");
                f(j, rows, i, m);
                j += rows;
            }
        }
    }
}
