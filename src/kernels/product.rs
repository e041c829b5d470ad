//! Products with weight matrices: `x @ W^T` for one or several matrices over the same input, and their epilogue.
//!
//! Threads take blocks of output features; [`tile`] computes their products.

use super::activation::{activate, gate};
use super::blocking::block_rows;
use super::epilogue::{Epilogue, add_bias, add_residual};
use super::floats::{Floats, FloatsMut, Target};
use super::input::Input;
use super::level::Level;
use super::matrix::Part;
use super::pool;
use super::scratch::with_scratch;
use super::tile;

/// Computes `x @ W^T + bias` for every part and stores it as `epilogue` says. `x` has `m` rows.
///
/// # Panics
/// If sizes do not fit each other.
pub fn product(
    level: Level,
    x: Floats<'_>,
    m: usize,
    parts: &[Part<'_>],
    epilogue: Epilogue<'_>,
    out: Vec<FloatsMut<'_>>,
) {
    let k = parts[0].weight.columns;
    assert_eq!(x.len(), m * k, "input");
    for part in parts {
        part.weight.check();
        assert_eq!(part.weight.columns, k, "parts of one input");
        assert!(part.bias.is_none_or(|b| b.len() == part.weight.rows), "bias");
    }
    let targets: Vec<Target> = out.into_iter().map(Target::new).collect();
    // Parts that are computed together.
    let joint = match epilogue {
        Epilogue::Gate(_) => {
            assert!(parts.len() == 2 && targets.len() == 1 && parts[0].weight.rows == parts[1].weight.rows, "gate");
            2
        }
        Epilogue::Add(residual, _) => {
            assert!(parts.len() == 1 && targets.len() == 1 && residual.len() == m * parts[0].weight.rows, "residual");
            1
        }
        Epilogue::Store | Epilogue::Activate(_) => {
            assert_eq!(parts.len(), targets.len(), "results");
            1
        }
    };
    for (target, parts) in targets.iter().zip(parts.chunks(joint)) {
        assert_eq!(target.len(), m * parts[0].weight.rows, "result");
    }
    if m == 0 {
        return;
    }
    let rows: usize = parts.iter().map(|p| p.weight.rows).sum();
    let small = m * k * rows < 1 << 16;
    let threads = if small { 1 } else { pool::threads() };
    let block = block_rows(m, rows / joint, threads);
    let prepared = Input::new(level, x, m, parts, threads > 1);

    // Blocks of output features over all parts, as one list of tasks.
    let blocks: Vec<usize> = parts.chunks(joint).map(|p| p[0].weight.rows.div_ceil(block)).collect();
    let task = |index: usize| {
        let (mut group, mut index) = (0, index);
        while index >= blocks[group] {
            index -= blocks[group];
            group += 1;
        }
        let parts = &parts[group * joint..(group + 1) * joint];
        let rows = parts[0].weight.rows;
        let from = index * block;
        let n = block.min(rows - from);
        with_scratch(joint * m * n, |scratch| {
            for (part, tile) in parts.iter().zip(scratch.chunks_exact_mut(m * n)) {
                tile::compute(level, &part.weight, from, n, &prepared, tile);
                if let Some(bias) = part.bias {
                    add_bias(level, tile, bias.slice(from, n));
                }
            }
            let (first, second) = scratch.split_at_mut(m * n);
            match epilogue {
                Epilogue::Gate(act) => gate(level, act, first, second),
                Epilogue::Activate(act) => activate(level, act, first),
                Epilogue::Store | Epilogue::Add(..) => {}
            }
            for (row, values) in first.chunks_exact_mut(n).enumerate() {
                if let Epilogue::Add(residual, factor) = epilogue {
                    add_residual(level, values, residual.slice(row * rows + from, n), factor);
                }
                // SAFETY: each task has its own block of columns.
                unsafe { targets[group].part(row * rows + from, n) }.write(level, values);
            }
        });
    };
    let tasks = blocks.iter().sum();
    if small { (0..tasks).for_each(task) } else { pool::run(tasks, &task) }
}
