//! The experts of a mixture: gated layers of which each position uses a few.

use super::linear::part;
use super::{Activation, Router};
use crate::array::cpu::{self, Mixture};
use crate::array::{Array, Dtype, arange};
use crate::error::Result;
use crate::weights::{Matrix, Weights};

/// The experts of a mixture, all alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub count: i32,
    /// Inner features of an expert.
    pub size: i32,
    /// `down(activation(gate(x)) * up(x))`
    pub activation: Activation,
    /// Whether all three have biases.
    pub bias: bool,
    /// Where their weights are, within the mixture.
    pub names: ExpertNames,
}

/// Where the weights of experts are.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertNames {
    /// All of them stacked, as mlx-lm converts them: `{stacked}.{gate,up,down}_proj`.
    pub stacked: &'static str,
    /// One by one, as they are published: `{each}.{index}.{..}`.
    pub each: &'static str,
    /// Gate, up and down of an expert that is stored for itself.
    pub parts: [&'static str; 3],
}

impl Default for ExpertNames {
    fn default() -> Self {
        ExpertNames { stacked: "switch_mlp", each: "experts", parts: ["gate_proj", "up_proj", "down_proj"] }
    }
}

/// The experts of a layer.
pub struct Experts {
    spec: ExpertsSpec,
    gate: Stack,
    up: Stack,
    down: Stack,
}

/// One linear map of each expert: `[experts, outputs, inputs]` and `[experts, outputs]`.
struct Stack {
    weight: Matrix,
    bias: Option<Array>,
}

/// From how many uses of experts on they are sorted, as in mlx-lm (`switch_layers.py`).
const SORTED: usize = 64;

impl Experts {
    /// The experts of the mixture at `path`, stacked or one by one, whichever the checkpoint has.
    pub fn load(w: &Weights, path: &str, spec: &ExpertsSpec, hidden: i32) -> Result<Experts> {
        let names = &spec.names;
        let stack = |stacked: &str, part: usize, inputs: i32, outputs: i32| -> Result<Stack> {
            let whole = format!("{path}.{}.{stacked}", names.stacked);
            let single = |i: i32| format!("{path}.{}.{i}.{}", names.each, names.parts[part]);
            let one_by_one = w.has(&format!("{}.weight", single(0)));
            let names = match one_by_one {
                true => (0..spec.count).map(single).collect(),
                false => Vec::new(),
            };
            let weight = match one_by_one {
                true => w.stacked_matrices(&names, outputs, inputs)?,
                false => w.matrices(&whole, spec.count, outputs, inputs)?,
            };
            let bias = match (spec.bias, one_by_one) {
                (false, _) => None,
                (true, true) => {
                    let names: Vec<String> = names.iter().map(|name| format!("{name}.bias")).collect();
                    Some(w.stacked(&names, &[outputs])?)
                }
                (true, false) => Some(w.tensor(&format!("{whole}.bias"), &[spec.count, outputs])?),
            };
            Ok(Stack { weight, bias })
        };
        Ok(Experts {
            spec: spec.clone(),
            gate: stack("gate_proj", 0, hidden, spec.size)?,
            up: stack("up_proj", 1, hidden, spec.size)?,
            down: stack("down_proj", 2, spec.size, hidden)?,
        })
    }

    /// The weighted sum of the results of the experts that `router` chooses by its `logits`, `[batch, length, experts]`,
    /// times a factor and added to a residual if one is given. `x` is `[batch, length, features]`.
    pub fn forward(
        &self,
        x: &Array,
        router: &Router,
        logits: &Array,
        onto: Option<(&Array, Option<f32>)>,
    ) -> Result<Array> {
        if let Some(mixture) = self.kernel(router) {
            return mixture.run(x, logits, onto.map(|(residual, factor)| (residual, factor.unwrap_or(1.0))));
        }
        let (experts, weights) = router.choose(logits)?;
        let y = (self.each(x, &experts)? * weights.expand_dims(-1))?.sum(-2, false)?;
        match onto {
            Some((residual, Some(factor))) => residual + (y * factor),
            Some((residual, None)) => residual + y,
            None => Ok(y),
        }
    }

    /// All of it as one operation, where the CPU kernels are in use.
    fn kernel(&self, router: &Router) -> Option<Mixture<'_>> {
        let softmax = router.kernel()?;
        let parts = [&self.gate, &self.up, &self.down].map(|s| (part(&s.weight), s.bias.as_ref()));
        let known = cpu::active() && parts.iter().all(|(weight, _)| weight.is_supported());
        known.then(|| Mixture { parts, chosen: router.top_k(), softmax, act: self.spec.activation.kernel() })
    }

    /// The results of the chosen experts, `[batch, length, chosen, features]`. Many uses are sorted by expert.
    fn each(&self, x: &Array, experts: &Array) -> Result<Array> {
        let (batch, length, features) = (x.dim(0), x.dim(1), x.dim(2));
        let chosen = experts.dim(-1);
        let sorted = experts.size() >= SORTED;
        let (x, used, places) = if sorted {
            let flat = experts.reshape(&[-1])?;
            let order = flat.argsort(0)?;
            let rows = arange(0.0, f64::from(batch * length), 1.0, Dtype::U32)?.repeat(chosen, 0)?.take(&order, 0)?;
            let x = x.reshape(&[batch * length, 1, features])?.take(&rows, 0)?;
            (x, flat.take(&order, 0)?, Some(order.argsort(0)?))
        } else {
            (x.reshape(&[batch, length, 1, 1, features])?, experts.clone(), None)
        };
        let gate = self.spec.activation.apply(&self.gate.forward(&x, &used, sorted)?)?;
        let y = self.down.forward(&(gate * self.up.forward(&x, &used, sorted)?)?, &used, sorted)?;
        let y = match places {
            Some(places) => y.take(&places, 0)?,
            None => y,
        };
        y.reshape(&[batch, length, chosen, features])
    }
}

impl Stack {
    /// `x` is `[.., 1, inputs]`; the result has one row for each expert of `used`.
    fn forward(&self, x: &Array, used: &Array, sorted: bool) -> Result<Array> {
        let y = match &self.weight {
            Matrix::Dense(weight) => x.gather_mm(&weight.swap_axes(-1, -2)?, None, Some(used), sorted)?,
            Matrix::Quantized(weight) => weight.gather_matmul_transposed(x, None, Some(used), sorted)?,
        };
        match &self.bias {
            Some(bias) => y + bias.take(used, 0)?.expand_dims(-2)?,
            None => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::quant::{Mode, Quantized, Scheme};
    use crate::array::random;
    use crate::nn::RouterSpec;

    fn numbers(shape: &[i32], scale: f32, seed: u64) -> Array {
        random::normal(shape, scale, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    fn spec(count: i32, size: i32, activation: Activation) -> ExpertsSpec {
        ExpertsSpec { count, size, activation, bias: true, names: ExpertNames::default() }
    }

    /// The kernels against MLX's own gathers, sorted and not.
    #[test]
    fn kernels_agree_with_mlx() {
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
            let router =
                Router::new(RouterSpec::softmax(3, i % 2 == 1), count, numbers(&[count, features], 1.0, 9)).unwrap();
            let stack = |rows: i32, columns: i32, seed: u64, bias: bool| Stack {
                weight: match scheme {
                    None => Matrix::Dense(numbers(&[count, rows, columns], 0.1, seed)),
                    Some(scheme) => Matrix::Quantized(
                        Quantized::quantize(&numbers(&[count, rows, columns], 0.1, seed), scheme).unwrap(),
                    ),
                },
                bias: bias.then(|| numbers(&[count, rows], 0.1, seed + 1)),
            };
            let experts = Experts {
                spec: spec(count, size, Activation::Silu),
                gate: stack(size, features, 10, true),
                up: stack(size, features, 20, false),
                down: stack(features, size, 30, true),
            };
            // Few uses are not sorted, many are.
            for (batch, length) in [(1, 1), (2, 3), (2, 20)] {
                let x = numbers(&[batch, length, features], 1.0, 1);
                let logits = numbers(&[batch, length, count], 1.0, 2);
                let (chosen, weights) = router.choose(&logits).unwrap();
                let each = experts.each(&x, &chosen).unwrap();
                let want = (each * weights.expand_dims(-1)).unwrap().sum(-2, false).unwrap();
                let want = (&x + (&want * 0.5)).unwrap().to_vec::<f32>().unwrap();
                let mixture = experts.kernel(&router).expect("kernels for everything");
                let got = mixture.run(&x, &logits, Some((&x, 0.5))).unwrap();
                assert_eq!(got.shape(), x.shape());
                let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (got, want) in got.to_vec::<f32>().unwrap().iter().zip(want) {
                    assert!((got - want).abs() < 2e-5 * largest, "{scheme:?}, {batch} x {length}: {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let weight = |shape: &[i32]| Stack { weight: Matrix::Dense(numbers(shape, 1.0, 1)), bias: None };
        let experts = Experts {
            spec: spec(4, 16, Activation::Relu),
            gate: weight(&[4, 16, 8]),
            up: weight(&[4, 16, 8]),
            down: weight(&[4, 8, 16]),
        };
        let router = Router::new(RouterSpec::softmax(2, false), 4, numbers(&[4, 8], 1.0, 9)).unwrap();
        let run =
            |x: &[i32], logits: &[i32]| experts.forward(&numbers(x, 1.0, 1), &router, &numbers(logits, 1.0, 2), None);
        assert!(run(&[1, 3, 8], &[1, 3, 4]).is_ok());
        for (x, logits) in [([1, 3, 8], [1, 2, 4]), ([1, 3, 8], [1, 3, 5]), ([1, 3, 9], [1, 3, 4])] {
            assert!(run(&x, &logits).is_err(), "{x:?} and {logits:?}");
        }
    }
}
