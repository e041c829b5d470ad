//! How many threads CPU kernels use. For the whole process.

use mlx_engine_kernels::pool;

/// Sets how many threads CPU kernels use, the calling one included. Takes effect before the first of them runs; returns
/// false where that is too late.
pub fn set(threads: usize) -> bool {
    pool::set_threads(threads)
}

/// How many threads CPU kernels use: set by [`set`], otherwise by the environment variable `MLXE_THREADS`, otherwise
/// one per core.
pub fn count() -> usize {
    pool::threads()
}
