//! Normalisation over the last axis.

use super::terms::norm::{Norm, NormKind};
use crate::array::{Array, cpu, fast};
use crate::error::Result;

/// Normalises `[.., features]`.
#[track_caller]
pub fn norm(x: &Array, norm: &Norm) -> Result<Array> {
    let (weight, bias) = (norm.weight.as_ref(), norm.bias.as_ref());
    if let Some(result) = cpu::norm(x, norm.kind, norm.eps, weight, bias) {
        return result;
    }
    match norm.kind {
        NormKind::Rms => fast::rms_norm(x, weight, norm.eps),
        NormKind::Layer => fast::layer_norm(x, weight, bias, norm.eps),
    }
}
