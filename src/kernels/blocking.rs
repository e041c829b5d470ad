//! How products are divided: output features into blocks for threads, blocks into tiles for registers.

/// Up to this many rows of input are computed as dot products, each exactly as it would be alone: sequences that are
/// decoded together get what they get on their own.
pub(super) const FEW: usize = 16;

/// Rows of input of a register tile, where rows are few.
pub(super) const TILE_INPUTS: usize = 4;

/// Bytes of weights that stay in the first-level cache while they are multiplied with all rows of input.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const NEAR: usize = 16384;

/// Calls `f(j, rows, i, m)` for each register tile: `rows` of the `n` rows of weights from `j` on, and `m` of the
/// `inputs` rows of input from `i` on. `most` says how many rows of weights registers allow beside `m` rows of input: 1,
/// 2 or 4.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn register_tiles(
    n: usize,
    row_bytes: usize,
    inputs: usize,
    most: impl Fn(usize) -> usize,
    mut f: impl FnMut(usize, usize, usize, usize),
) {
    let near = if inputs <= TILE_INPUTS { n } else { (NEAR / row_bytes.max(1)).next_multiple_of(4) };
    for start in (0..n).step_by(near.max(1)) {
        let end = (start + near).min(n);
        for i in (0..inputs).step_by(TILE_INPUTS) {
            let m = TILE_INPUTS.min(inputs - i);
            let mut j = start;
            while j < end {
                let rows = [4, 2, 1].into_iter().find(|&r| r <= most(m).min(end - j)).expect("at least one");
                f(j, rows, i, m);
                j += rows;
            }
        }
    }
}

/// How many output features a task computes.
pub(super) fn block_rows(m: usize, rows: usize, threads: usize) -> usize {
    if threads == 1 && m <= FEW {
        return rows.max(1);
    }
    // Several blocks a thread, so that one that is held up does not hold up all; each a multiple of the panel's width.
    let even = rows.div_ceil(threads * if m <= FEW { 8 } else { 4 });
    let (least, most) = if m <= FEW { (16, 512) } else { (64, 128) };
    even.next_multiple_of(least).clamp(least, most)
}
