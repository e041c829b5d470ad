//! Mixtures of experts.

use super::terms::mixture::{Mixture, RouterSoftmax, Routes};
use super::terms::weight::{Part, Weight};
use crate::array::{Array, Dtype, arange, cpu};
use crate::error::{Error, Result};

/// The number of expert uses from which they are sorted, as in mlx-lm (`switch_layers.py`).
const SORTED: usize = 64;

/// The weighted sum of the chosen experts' results for `x`, `[.., length, features]`; scaled and added to a residual if
/// one is given.
pub fn experts(op: &Mixture<'_>, x: &Array, routes: &Routes<'_>, onto: Option<(&Array, Option<f32>)>) -> Result<Array> {
    if let Some(result) = cpu::experts(op, x, routes, onto) {
        return result;
    }
    let (experts, weights) = match *routes {
        Routes::Largest { logits, top_k, softmax } => choose(op.num_experts, logits, top_k, softmax)?,
        Routes::Chosen { experts, weights } => (experts.clone(), weights.clone()),
    };
    let y = (each(op, x, &experts)? * weights.expand_dims(-1))?.sum(-2, false)?;
    match onto {
        Some((residual, Some(scale))) => residual + (y * scale),
        Some((residual, None)) => residual + y,
        None => Ok(y),
    }
}

/// Chosen experts and their weights, `[.., top_k]`.
fn choose(count: i32, logits: &Array, top_k: i32, softmax: RouterSoftmax) -> Result<(Array, Array)> {
    let logits = match softmax {
        RouterSoftmax::All => logits.softmax(-1, true)?,
        RouterSoftmax::Chosen => logits.clone(),
    };
    let experts = logits.argpartition(count - top_k, -1)?.slice_axis(-1, count - top_k, count)?;
    let weights = logits.take_along_axis(&experts, -1)?;
    let weights = match softmax {
        RouterSoftmax::All => weights,
        RouterSoftmax::Chosen => weights.softmax(-1, true)?,
    };
    Ok((experts, weights))
}

/// The results of the chosen experts, `[batch, length, top_k, features]`. Many uses are sorted by expert.
fn each(op: &Mixture<'_>, x: &Array, experts: &Array) -> Result<Array> {
    let &[batch, length, features] = x.shape() else {
        return Err(Error::internal(format!("experts of {x:?}")));
    };
    let top_k = experts.dim(-1);
    let sorted = experts.size() >= SORTED;
    let (x, used, places) = if sorted {
        let flat = experts.reshape(&[-1])?;
        let order = flat.argsort(0)?;
        let rows = arange(0.0, f64::from(batch * length), 1.0, Dtype::U32)?.repeat(top_k, 0)?.take(&order, 0)?;
        let x = x.reshape(&[batch * length, 1, features])?.take(&rows, 0)?;
        (x, flat.take(&order, 0)?, Some(order.argsort(0)?))
    } else {
        (x.reshape(&[batch, length, 1, 1, features])?, experts.clone(), None)
    };
    let [gate, up, down] = &op.parts;
    let (gate, up) = (gathered(gate, &x, &used, sorted)?, gathered(up, &x, &used, sorted)?);
    let y = gathered(down, &op.activation.gate(&gate, &up)?, &used, sorted)?;
    let y = match places {
        Some(places) => y.take(&places, 0)?,
        None => y,
    };
    y.reshape(&[batch, length, top_k, features])
}

/// `x` is `[.., 1, inputs]`; the result has one row for each expert of `used`.
fn gathered(part: &Part<'_>, x: &Array, used: &Array, sorted: bool) -> Result<Array> {
    let y = match part.weight {
        Weight::Dense(weight) => x.gather_mm(&weight.swap_axes(-1, -2)?, None, Some(used), sorted)?,
        Weight::Quantized(weight) => weight.gather_matmul_transposed(x, None, Some(used), sorted)?,
    };
    match part.bias {
        Some(bias) => y + bias.take(used, 0)?.expand_dims(-2)?,
        None => Ok(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::fused::terms::activation::Activation;
    use crate::array::quant::{Mode, Quantized, Scheme};
    use crate::array::random;

    fn numbers(shape: &[i32], scale: f32, seed: u64) -> Array {
        random::normal(shape, scale, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    /// The weights of a stack of matrices.
    enum Stack {
        Dense(Array),
        Quantized(Quantized),
    }

    impl Stack {
        fn part<'a>(&'a self, bias: Option<&'a Array>) -> Part<'a> {
            let weight = match self {
                Stack::Dense(w) => Weight::Dense(w),
                Stack::Quantized(q) => Weight::Quantized(q),
            };
            Part { bias, ..Part::of(weight) }
        }
    }

    /// The router's choice and all in one, against MLX's own gathers, sorted and not.
    #[test]
    fn back_ends_agree_with_mlx() {
        let affine = |bits, group_size| Some(Scheme { mode: Mode::Affine, bits, group_size });
        let float = |mode, bits, group_size| Some(Scheme { mode, bits, group_size });
        let schemes = [
            None,
            affine(2, 32),
            affine(3, 64),
            affine(4, 64),
            affine(5, 32),
            affine(6, 128),
            affine(8, 64),
            float(Mode::Mxfp4, 4, 32),
            float(Mode::Mxfp8, 8, 32),
            float(Mode::Nvfp4, 4, 16),
        ];
        let (count, features, size) = (6, 128, 256);
        for (i, scheme) in schemes.into_iter().enumerate() {
            let softmax = if i % 2 == 0 { RouterSoftmax::All } else { RouterSoftmax::Chosen };
            let stack = |rows: i32, columns: i32, seed: u64| {
                let numbers = numbers(&[count, rows, columns], 0.1, seed);
                match scheme {
                    None => Stack::Dense(numbers),
                    Some(scheme) => Stack::Quantized(Quantized::quantize(&numbers, scheme).unwrap()),
                }
            };
            let stacks = [stack(size, features, 10), stack(size, features, 20), stack(features, size, 30)];
            let biases = [numbers(&[count, size], 0.1, 11), numbers(&[count, features], 0.1, 31)];
            let [gate, up, down] = &stacks;
            let parts = [gate.part(Some(&biases[0])), up.part(None), down.part(Some(&biases[1]))];
            let activation = if i % 3 == 1 { Activation::SwigluOai } else { Activation::Silu };
            let op = Mixture { num_experts: count, parts, activation };
            // Few uses are not sorted, many are.
            for (batch, length) in [(1, 1), (2, 3), (2, 20)] {
                let x = numbers(&[batch, length, features], 1.0, 1);
                let logits = numbers(&[batch, length, count], 1.0, 2);
                let (chosen, weights) = choose(count, &logits, 3, softmax).unwrap();
                let routes = Routes::Chosen { experts: &chosen, weights: &weights };
                let want = experts(&op, &x, &routes, Some((&x, Some(0.5)))).unwrap().to_vec::<f32>().unwrap();
                let routes = Routes::Largest { logits: &logits, top_k: 3, softmax };
                let got = experts(&op, &x, &routes, Some((&x, Some(0.5)))).unwrap();
                assert_eq!(got.shape(), x.shape());
                let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (got, want) in got.to_vec::<f32>().unwrap().iter().zip(want) {
                    assert!((got - want).abs() < 2e-5 * largest, "{scheme:?}, {batch} x {length}: {got}, not {want}");
                }
            }
        }
    }
}
