//! Normalisation over the last axis.

use crate::array::Array;
use crate::array::fused;
use crate::error::Result;
use crate::weights::Weights;

/// A kind of normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// `x / rms(x) * weight`
    Rms,
    /// `x / rms(x) * (1 + weight)`
    RmsPlusOne,
    /// `x / rms(x) * (this + weight)`
    RmsPlus(f32),
    /// `x / rms(x)`
    RmsBare,
    /// `(x - mean) / std * weight`
    Layer,
    /// `(x - mean) / std * weight + bias`
    LayerBias,
    /// `(x - mean) / std * (1 + weight) + bias`
    LayerPlusOneBias,
    /// `(x - mean) / std`
    LayerBare,
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
        match self.kind {
            NormKind::RmsBare | NormKind::LayerBare => 0,
            NormKind::LayerBias | NormKind::LayerPlusOneBias => 2 * size,
            NormKind::Rms | NormKind::RmsPlusOne | NormKind::RmsPlus(_) | NormKind::Layer => size,
        }
    }
}

/// A normalisation with its weights.
pub struct Norm(fused::Norm);

impl Norm {
    /// The layer at `path` for `size` features.
    pub fn load(w: &Weights, path: &str, size: i32, spec: NormSpec) -> Result<Norm> {
        let name = format!("{path}.weight");
        let weight = match spec.kind {
            NormKind::RmsBare | NormKind::LayerBare => return Ok(Norm::bare(spec)),
            NormKind::RmsPlusOne | NormKind::LayerPlusOneBias => w.derived(&name, &[size], |weight| weight + 1.0)?,
            NormKind::RmsPlus(offset) => w.derived(&name, &[size], |weight| weight + offset)?,
            NormKind::Rms | NormKind::Layer | NormKind::LayerBias => w.tensor(&name, &[size])?,
        };
        let bias = match spec.kind {
            NormKind::LayerBias | NormKind::LayerPlusOneBias => Some(w.tensor(&format!("{path}.bias"), &[size])?),
            _ => None,
        };
        Ok(Norm(fused::Norm { weight: Some(weight), bias, ..Norm::bare(spec).0 }))
    }

    /// An RMS norm whose weights are the tensor `name`, multiplied by `scale`.
    pub fn scaled(w: &Weights, name: &str, size: i32, spec: NormSpec, scale: f32) -> Result<Norm> {
        let weight = w.derived(name, &[size], |weight| weight * scale)?;
        Ok(Norm(fused::Norm { weight: Some(weight), ..Norm::bare(spec).0 }))
    }

    /// The same without weights.
    pub fn bare(spec: NormSpec) -> Norm {
        let kind = match spec.kind {
            NormKind::Rms | NormKind::RmsPlusOne | NormKind::RmsPlus(_) | NormKind::RmsBare => fused::NormKind::Rms,
            NormKind::Layer | NormKind::LayerBias | NormKind::LayerPlusOneBias | NormKind::LayerBare => {
                fused::NormKind::Layer
            }
        };
        Norm(fused::Norm { kind, eps: spec.eps, weight: None, bias: None })
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
