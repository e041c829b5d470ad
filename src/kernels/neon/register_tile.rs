//! The register tile: how many rows of weights and of input are multiplied at a time.

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

pub(super) use for_sizes;

/// Rows of weights at a time with `m` rows of input.
pub fn most(m: usize) -> usize {
    if m == 1 { 4 } else { 2 }
}
