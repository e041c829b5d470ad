//! Rotary position embedding of heads.

use super::floats::{Floats, FloatsMut, Target};
use super::level::{Level, multiversion};
use super::pool;
use super::scratch::with_scratch;

/// How heads are rotated (Su et al. 2021, arXiv:2104.09864).
#[derive(Clone, Debug)]
pub struct Rotation {
    /// How many of the first features are rotated; even.
    pub dims: usize,
    /// Pairs neighbours instead of the two halves.
    pub interleaved: bool,
    /// Radians a position, for each pair.
    pub frequencies: Vec<f32>,
    /// Factor on the rotated features.
    pub magnitude: f32,
}

/// Cosines and sines of some positions.
pub(super) struct Angles<'a> {
    rotation: &'a Rotation,
    /// `[position][cosines, sines]`
    table: Vec<f32>,
}

impl Rotation {
    /// Rotates `[sequences, .., length, features]`; `offsets` are the first positions of the sequences.
    ///
    /// # Panics
    /// If sizes do not fit each other.
    pub fn rotate(
        &self,
        level: Level,
        x: Floats<'_>,
        length: usize,
        features: usize,
        offsets: &[usize],
        out: FloatsMut<'_>,
    ) {
        let even = x.len().is_multiple_of(offsets.len() * length * features);
        assert!(self.dims <= features && x.len() == out.len() && even, "rope");
        let angles: Vec<Angles> = offsets.iter().map(|offset| self.angles(*offset, length)).collect();
        let target = Target::new(out);
        let rows = x.len() / features;
        let sequence = (rows / offsets.len()).max(1);
        let task = |r: usize| {
            with_scratch(features, |head| {
                x.slice(r * features, features).read(level, head);
                angles[r / sequence].apply(level, head, r % length);
                // SAFETY: each row is its own part.
                unsafe { target.part(r * features, features) }.write(level, head);
            });
        };
        if x.len() < 1 << 15 { (0..rows).for_each(task) } else { pool::run(rows, &task) }
    }

    pub(super) fn angles(&self, offset: usize, length: usize) -> Angles<'_> {
        let half = self.dims / 2;
        assert_eq!(self.frequencies.len(), half, "rotation");
        let mut table = vec![0.0; length * self.dims];
        for (i, row) in table.chunks_exact_mut(self.dims).enumerate() {
            let (cosines, sines) = row.split_at_mut(half);
            for ((c, s), f) in cosines.iter_mut().zip(sines).zip(&self.frequencies) {
                let angle = (offset + i) as f32 * f;
                (*s, *c) = angle.sin_cos();
                (*s, *c) = (*s * self.magnitude, *c * self.magnitude);
            }
        }
        Angles { rotation: self, table }
    }
}

impl Angles<'_> {
    /// Rotates one head at the `i`-th of the positions.
    pub fn apply(&self, level: Level, head: &mut [f32], i: usize) {
        let dims = self.rotation.dims;
        let (cosines, sines) = self.table[i * dims..(i + 1) * dims].split_at(dims / 2);
        match self.rotation.interleaved {
            true => neighbours(level, &mut head[..dims], cosines, sines),
            false => halves(level, &mut head[..dims], cosines, sines),
        }
    }
}

multiversion! {
    fn halves<const FMA: bool>(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
        let (first, second) = head.split_at_mut(cosines.len());
        for (((a, b), c), s) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}

multiversion! {
    fn neighbours<const FMA: bool>(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
        for ((pair, c), s) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
            (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[0] * s + pair[1] * c);
        }
    }
}
