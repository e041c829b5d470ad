//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864).

use super::memo::Memo;
use crate::array::Array;

/// How far a pair of features turns.
#[derive(Clone, Debug)]
pub enum Turns {
    /// Pair `i` turns by `position * scale / base^(2i / dims)`.
    Powers {
        /// The base.
        base: f32,
        /// Scale of positions.
        scale: f32,
    },
    /// Pair `i` turns by `position / wavelengths[i]`. The same numbers as an array, f32 `[dims / 2]`.
    Wavelengths(Vec<f64>, Array),
    /// As powers of a base that grows with the sequence.
    Dynamic {
        /// The base of sequences that are not longer than `original_context`.
        base: f32,
        /// How fast it grows.
        factor: f32,
        /// The longest sequence of the training.
        original_context: f32,
    },
}

/// How heads are rotated.
pub struct Rotation {
    /// How many of the first features are rotated; even.
    pub dims: i32,
    /// Pairs neighbours (`traditional` in MLX) instead of the two halves.
    pub interleaved: bool,
    /// How far.
    pub turns: Turns,
    /// Scale of the rotated features, if it is not 1.
    pub magnitude: Option<f32>,
    /// Data that a back end has prepared from it.
    pub memo: Memo,
}

impl Rotation {
    /// Without a scale of the features.
    pub fn new(dims: i32, interleaved: bool, turns: Turns) -> Rotation {
        Rotation { dims, interleaved, turns, magnitude: None, memo: Memo::default() }
    }

    /// The same for sequences of this length, where that makes a difference.
    pub fn at_length(&self, length: i32) -> Option<Rotation> {
        let Turns::Dynamic { base, factor, original_context } = self.turns else { return None };
        let length = f64::from(length).max(f64::from(original_context));
        let (factor, original) = (f64::from(factor), f64::from(original_context));
        let dims = f64::from(self.dims);
        let growth = factor * length / original - (factor - 1.0);
        let base = (f64::from(base) * growth.powf(dims / (dims - 2.0))) as f32;
        let turns = Turns::Powers { base, scale: 1.0 };
        Some(Rotation { magnitude: self.magnitude, ..Rotation::new(self.dims, self.interleaved, turns) })
    }

    /// Radians a position, for each pair; `None` where they depend on the length.
    pub fn frequencies(&self) -> Option<Vec<f32>> {
        match &self.turns {
            Turns::Powers { base, scale } => {
                let (base, scale, dims) = (f64::from(*base), f64::from(*scale), f64::from(self.dims));
                Some((0..self.dims / 2).map(|j| (scale / base.powf(2.0 * f64::from(j) / dims)) as f32).collect())
            }
            Turns::Wavelengths(wavelengths, _) => Some(wavelengths.iter().map(|w| (1.0 / w) as f32).collect()),
            Turns::Dynamic { .. } => None,
        }
    }
}
