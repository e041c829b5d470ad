//! Normalisation over the last axis.

use crate::array::Array;

/// What a normalisation divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x)`
    Rms,
    /// `(x - mean(x)) / std(x)`
    Layer,
}

/// A normalisation with its weights: `normalised(x) * weight + bias`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// What it divides by.
    pub kind: NormKind,
    /// Added to the variance (or to the mean square).
    pub eps: f32,
    /// `[features]`; 1 if none.
    pub weight: Option<Array>,
    /// `[features]`; only of the kind [`NormKind::Layer`].
    pub bias: Option<Array>,
}

impl Norm {
    /// Epsilon and weight, if this is an RMS norm with a weight and nothing else.
    pub fn rms(&self) -> Option<(f32, &Array)> {
        match self {
            Norm { kind: NormKind::Rms, eps, weight: Some(weight), bias: None } => Some((*eps, weight)),
            _ => None,
        }
    }
}
