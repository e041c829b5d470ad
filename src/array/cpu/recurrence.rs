//! Convolutions and linear recurrences over positions.

use mlx_engine_kernels::{self as kernels, Floats, Level};

use super::common::active;
use super::inputs::{act, unfit};
use crate::array::fused::terms::recurrence::{Convolution, Recurrence};
use crate::array::host::{self, Held, View};
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// One operation for the results and the past of what follows.
pub fn convolve(op: &Convolution, x: &Array, past: &Array) -> Option<Result<(Array, Array)>> {
    active().then(|| run_convolution(op, x, past))
}

/// One operation for the results and the next state.
pub fn recur(op: &Recurrence<'_>, state: &Array) -> Option<Result<(Array, Array)>> {
    active().then(|| run_recurrence(op, state))
}

fn run_convolution(op: &Convolution, x: &Array, past: &Array) -> Result<(Array, Array)> {
    let wrong = || unfit("convolution", &[x, past, &op.weight]);
    let (&[rows, length, channels], &[taps, filters]) = (x.shape(), op.weight.shape()) else { return Err(wrong()) };
    let biased = op.bias.as_ref().is_none_or(|bias| bias.shape() == [channels]);
    if past.shape() != [rows, taps - 1, channels] || filters != channels || length < 1 || !biased {
        return Err(wrong());
    }
    let mut inputs = vec![x, past, &op.weight];
    inputs.extend(&op.bias);
    all_f32(&inputs[1..])?;
    let activation = op.activation.map(act);
    pair(host::operation(
        &inputs,
        &[(x.shape(), Dtype::F32), (past.shape(), Dtype::F32)],
        Box::new(move |ins, outs| {
            let floats: Vec<Held> = ins.iter().map(View::floats).collect();
            let op = kernels::Convolution {
                length: length as usize,
                channels: channels as usize,
                weight: numbers(&floats[2]),
                bias: floats.get(3).map(numbers),
                act: activation,
            };
            // SAFETY: the outputs of this operation.
            let (out, next) = unsafe { (outs[0].floats_mut(), outs[1].floats_mut()) };
            kernels::convolve(Level::get(), &op, floats[0].get(), numbers(&floats[1]), out, next);
        }),
    )?)
}

fn run_recurrence(op: &Recurrence<'_>, state: &Array) -> Result<(Array, Array)> {
    let mut inputs = vec![state, op.decay, op.key, op.value, op.query];
    inputs.extend(op.correction.iter().flatten());
    let wrong = || unfit("recurrence", &inputs);
    let (&[rows, heads, values, keys], &[_, length, ..]) = (state.shape(), op.value.shape()) else {
        return Err(wrong());
    };
    let fits = |a: &Array, width: i32| match *a.shape() {
        [r, l, own, w] => r == rows && l == length && own > 0 && heads % own == 0 && w == width,
        _ => false,
    };
    let decay = fits(op.decay, 1) || fits(op.decay, keys);
    let others = [op.key, op.query].into_iter().chain(op.correction.into_iter().flatten());
    if !decay || !fits(op.value, values) || length < 1 || !others.into_iter().all(|a| fits(a, keys)) {
        return Err(wrong());
    }
    all_f32(&inputs)?;
    pair(host::operation(
        &inputs,
        &[(&[rows, length, heads, values], Dtype::F32), (state.shape(), Dtype::F32)],
        Box::new(move |ins, outs| {
            let floats: Vec<Held> = ins.iter().map(View::floats).collect();
            let operand = |i: usize| kernels::Operand {
                numbers: numbers(&floats[i]),
                heads: ins[i].dim(2),
                width: ins[i].dim(3),
            };
            let op = kernels::Recurrence {
                length: length as usize,
                heads: heads as usize,
                keys: keys as usize,
                values: values as usize,
                decay: operand(1),
                key: operand(2),
                value: operand(3),
                query: operand(4),
                correction: (ins.len() > 5).then(|| [operand(5), operand(6)]),
            };
            // SAFETY: the outputs of this operation.
            let (out, next) = unsafe { (outs[0].floats_mut(), outs[1].floats_mut()) };
            kernels::recur(Level::get(), &op, numbers(&floats[0]), out, next);
        }),
    )?)
}

fn all_f32(arrays: &[&Array]) -> Result<()> {
    match arrays.iter().find(|a| a.dtype() != Dtype::F32) {
        None => Ok(()),
        Some(other) => Err(Error::internal(format!("{other:?} where a recurrence needs f32"))),
    }
}

fn numbers<'a>(held: &'a Held<'_>) -> &'a [f32] {
    match held.get() {
        Floats::F32(numbers) => numbers,
        _ => panic!("types were checked"),
    }
}

fn pair(results: Vec<Array>) -> Result<(Array, Array)> {
    let [first, second] = results.try_into().map_err(|_| Error::internal("an operation with two results"))?;
    Ok((first, second))
}
