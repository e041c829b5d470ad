//! New keys and values on their way into the cache.

use super::prologue::Prologue;
use crate::floats::{Floats, FloatsMut, Target};
use crate::level::Level;
use crate::norm::NormParams;
use crate::pool;
use crate::rope::Rotation;
use crate::scratch::with_scratch;

/// New keys or values, `[batch, length, kv heads * dim]`, and where they go.
#[derive(Debug)]
pub struct Append<'a> {
    /// The new rows.
    pub new: Floats<'a>,
    /// Normalisation of each head.
    pub norm: Option<NormParams<'a>>,
    /// Rotation of each head.
    pub rotation: Option<&'a Rotation>,
    /// The position of the first one, for rotation.
    pub offset: usize,
    /// The cache, `[batch, kv heads, capacity, dim]`.
    pub cache: FloatsMut<'a>,
    /// Its positions.
    pub capacity: usize,
    /// Where in the cache the first new one goes.
    pub at: usize,
}

impl Append<'_> {
    /// Writes them.
    ///
    /// # Panics
    /// If sizes do not fit each other.
    pub fn write(self, level: Level, batch: usize, length: usize, kv_heads: usize, dim: usize) {
        assert_eq!(self.new.len(), batch * length * kv_heads * dim, "new keys or values");
        assert!(
            self.cache.len() == batch * kv_heads * self.capacity * dim && self.at + length <= self.capacity,
            "cache"
        );
        let cache = Target::new(self.cache);
        let angles = self.rotation.map(|r| r.angles(self.offset, length));
        let prologue = Prologue { norm: self.norm.as_ref(), angles: angles.as_ref() };
        let (new, capacity, at) = (self.new, self.capacity, self.at);
        let task = |row: usize| {
            let (b, i) = (row / length, row % length);
            with_scratch(dim, |scratch| {
                for h in 0..kv_heads {
                    prologue.read(level, new.slice((row * kv_heads + h) * dim, dim), i, scratch);
                    let to = ((b * kv_heads + h) * capacity + at + i) * dim;
                    // SAFETY: every head of every position has its own place.
                    unsafe { cache.part(to, dim) }.write(level, scratch);
                }
            });
        };
        let rows = batch * length;
        if rows < 16 { (0..rows).for_each(task) } else { pool::run(rows, &task) }
    }
}
