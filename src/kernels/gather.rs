//! Rows of a matrix by index: an embedding.

use super::floats::{FloatsMut, Target};
use super::level::Level;
use super::matrix::Matrix;
use super::scratch::with_scratch;

/// The rows `indices` of a matrix: an embedding.
///
/// # Panics
/// If an index is not a row, or sizes do not fit each other.
pub fn gather_rows(level: Level, table: &Matrix<'_>, indices: &[u32], out: FloatsMut<'_>) {
    table.check();
    assert_eq!(out.len(), indices.len() * table.columns, "result");
    let target = Target::new(out);
    for (i, &index) in indices.iter().enumerate() {
        assert!((index as usize) < table.rows, "row {index} of {}", table.rows);
        with_scratch(table.columns, |row| {
            table.row(level, index as usize, row);
            // SAFETY: one thread.
            unsafe { target.part(i * table.columns, table.columns) }.write(level, row);
        });
    }
}
