//! Normalisation over the last axis.

use mlx_engine_kernels::{Level, NormParams, normalize};

use super::common::active;
use super::inputs::{one, promoted, unfit};
use crate::array::Array;
use crate::array::fused::terms::norm::NormKind;
use crate::array::host::{self, Held, View};
use crate::error::Result;

/// One operation for all of it.
pub fn norm(
    x: &Array,
    kind: NormKind,
    eps: f32,
    weight: Option<&Array>,
    bias: Option<&Array>,
) -> Option<Result<Array>> {
    active().then(|| run(x, kind, eps, weight, bias))
}

fn run(x: &Array, kind: NormKind, eps: f32, weight: Option<&Array>, bias: Option<&Array>) -> Result<Array> {
    let size = x.shape().last().copied().unwrap_or(0);
    let mut inputs = vec![x];
    let mut dtype = x.dtype();
    for parameter in [weight, bias].into_iter().flatten() {
        if parameter.shape() != [size] {
            return Err(unfit("norm", &[x, parameter]));
        }
        dtype = promoted(dtype, parameter.dtype());
        inputs.push(parameter);
    }
    let (weighted, biased) = (weight.is_some(), bias.is_some());
    one(host::operation(
        &inputs,
        &[(x.shape(), dtype)],
        Box::new(move |ins, outs| {
            let floats: Vec<Held> = ins.iter().map(View::floats).collect();
            let params = NormParams {
                center: kind == NormKind::Layer,
                eps,
                weight: weighted.then(|| floats[1].get()),
                bias: biased.then(|| floats[1 + usize::from(weighted)].get()),
            };
            // SAFETY: the output of this operation.
            normalize(Level::get(), floats[0].get(), size as usize, &params, unsafe { outs[0].floats_mut() });
        }),
    )?)
}
