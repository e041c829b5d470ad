//! Products with weights, and what follows them.

use mlx_engine_kernels::{Epilogue as Last, Level, Part as Factor, product};

use super::common::active;
use super::inputs::{Inputs, Stored, act, promoted, promoted_by, unfit};
use crate::array::fused::terms::linear::{Epilogue, Linear};
use crate::array::{Array, Dtype, host};
use crate::error::Result;

/// One operation for all parts and the epilogue. A norm before them is a separate operation.
pub fn linear(op: &Linear<'_>) -> Option<Result<Vec<Array>>> {
    if !active() || op.norm.is_some() {
        return None;
    }
    let stored = op.parts.iter().map(|part| Stored::of(&part.weight)).collect::<Option<Vec<_>>>()?;
    Some(run(op, stored))
}

fn run(op: &Linear<'_>, stored: Vec<Stored>) -> Result<Vec<Array>> {
    let x = op.x;
    let columns = x.shape().last().copied().unwrap_or(0);
    let mut dtype = x.dtype();
    let mut inputs = vec![x];
    let mut parts = Vec::with_capacity(op.parts.len());
    for (part, stored) in op.parts.iter().zip(stored) {
        let (weight, bias) = (&part.weight, part.bias);
        let fits = weight.columns() == columns && bias.is_none_or(|b| b.shape() == [weight.rows()]);
        if !fits || !x.dtype().is_float() {
            return Err(unfit("linear", &inputs));
        }
        dtype = promoted_by(weight, dtype);
        weight.push_to(&mut inputs);
        if let Some(bias) = bias {
            dtype = promoted(dtype, bias.dtype());
            inputs.push(bias);
        }
        parts.push((stored, bias.is_some()));
    }
    let mut shape = x.shape().to_vec();
    let mut shapes: Vec<Vec<i32>> = Vec::with_capacity(parts.len());
    for part in op.parts {
        *shape.last_mut().expect("x has a last axis") = part.weight.rows();
        shapes.push(shape.clone());
    }
    let (mut add, mut gate, mut activate) = (None, None, None);
    match op.epilogue {
        Epilogue::Store => {}
        Epilogue::Activate(activation) => activate = Some(act(activation)),
        Epilogue::Add { residual, scale } => {
            if shapes.len() != 1 || residual.shape() != shapes[0] {
                return Err(unfit("linear", &[x, residual]));
            }
            dtype = promoted(dtype, residual.dtype());
            inputs.push(residual);
            add = Some(scale.unwrap_or(1.0));
        }
        Epilogue::Gate(activation) => {
            if shapes.len() != 2 || shapes[0] != shapes[1] {
                return Err(unfit("gated linear", &inputs));
            }
            shapes.truncate(1);
            gate = Some(act(activation));
        }
    }
    let outputs: Vec<(&[i32], Dtype)> = shapes.iter().map(|s| (s.as_slice(), dtype)).collect();
    let columns = columns as usize;
    host::operation(
        &inputs,
        &outputs,
        Box::new(move |ins, outs| {
            let inputs = Inputs::new(ins);
            let mut at = 1;
            let parts: Vec<Factor> = parts
                .iter()
                .map(|&(stored, bias)| {
                    let weight = stored.matrix(&inputs, at, columns);
                    at += stored.arrays();
                    let bias = bias.then(|| inputs.floats(at));
                    at += usize::from(bias.is_some());
                    Factor { weight, bias }
                })
                .collect();
            let last = match (add, gate) {
                (Some(scale), _) => Last::Add(inputs.floats(at), scale),
                (_, Some(act)) => Last::Gate(act),
                _ => activate.map_or(Last::Store, Last::Activate),
            };
            let x = inputs.floats(0);
            // SAFETY: the outputs of this operation.
            let outs = outs.iter().map(|o| unsafe { o.floats_mut() }).collect();
            product(Level::get(), x, x.len() / columns.max(1), &parts, last, outs);
        }),
    )
}
