//! Normalisation over the last axis.

use crate::array::Array;
use crate::array::fused;
use crate::error::Result;
use crate::weights::Weights;

/// A kind of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) * weight`
    Rms,
    /// `x / rms(x) * (1 + weight)`
    RmsPlusOne,
    /// `(x - mean) / std * weight`
    Layer,
    /// `(x - mean) / std * weight + bias`
    LayerBias,
}

/// A kind and its epsilon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// The kind.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f32,
}

impl NormSpec {
    /// Numbers in its weights for `size` features.
    pub fn parameters(&self, size: u64) -> u64 {
        if self.kind == NormKind::LayerBias { 2 * size } else { size }
    }
}

/// A normalisation with its weights.
pub struct Norm(fused::Norm);

impl Norm {
    /// The layer at `path` for `size` features.
    pub fn load(w: &Weights, path: &str, size: i32, spec: NormSpec) -> Result<Norm> {
        let name = format!("{path}.weight");
        let weight = match spec.kind {
            NormKind::RmsPlusOne => w.derived(&name, &[size], |weight| weight + 1.0)?,
            _ => w.tensor(&name, &[size])?,
        };
        let bias = match spec.kind {
            NormKind::LayerBias => Some(w.tensor(&format!("{path}.bias"), &[size])?),
            _ => None,
        };
        let kind = match spec.kind {
            NormKind::Rms | NormKind::RmsPlusOne => fused::NormKind::Rms,
            NormKind::Layer | NormKind::LayerBias => fused::NormKind::Layer,
        };
        Ok(Norm(fused::Norm { kind, eps: spec.eps, weight: Some(weight), bias }))
    }

    /// What fused operations need to know.
    pub fn description(&self) -> &fused::Norm {
        &self.0
    }

    /// Normalises `[.., size]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        fused::norm(x, &self.0)
    }
}

impl From<Norm> for fused::Norm {
    fn from(norm: Norm) -> fused::Norm {
        norm.0
    }
}
