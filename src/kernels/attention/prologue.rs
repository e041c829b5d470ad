//! The prologue of attention: what happens to a head of queries or keys while it is read.

use crate::floats::Floats;
use crate::level::Level;
use crate::norm::{NormParams, normalize_row};
use crate::rope::Angles;

/// Normalisation and rotation of a head.
#[derive(Clone, Copy)]
pub struct Prologue<'a> {
    pub norm: Option<&'a NormParams<'a>>,
    pub angles: Option<&'a Angles<'a>>,
}

impl Prologue<'_> {
    /// Reads a head at the `i`-th position, normalised and rotated.
    pub fn read(&self, level: Level, x: Floats<'_>, i: usize, out: &mut [f32]) {
        x.read(level, out);
        if let Some(norm) = self.norm {
            normalize_row(level, out, norm);
        }
        if let Some(angles) = self.angles {
            angles.apply(level, out, i);
        }
    }
}
