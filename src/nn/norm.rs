//! Normalisation over the last axis.

use crate::array::{Array, fast};
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
pub struct Norm {
    spec: NormSpec,
    weight: Array,
    bias: Option<Array>,
}

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
        Ok(Norm { spec, weight, bias })
    }

    /// Epsilon and weight, if this is an RMS norm.
    pub fn rms(&self) -> Option<(f32, &Array)> {
        matches!(self.spec.kind, NormKind::Rms | NormKind::RmsPlusOne).then_some((self.spec.eps, &self.weight))
    }

    /// Normalises `[.., size]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        match self.spec.kind {
            NormKind::Rms | NormKind::RmsPlusOne => fast::rms_norm(x, Some(&self.weight), self.spec.eps),
            NormKind::Layer | NormKind::LayerBias => {
                fast::layer_norm(x, Some(&self.weight), self.bias.as_ref(), self.spec.eps)
            }
        }
    }
}
