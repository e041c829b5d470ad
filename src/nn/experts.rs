//! The experts of a mixture: gated layers of which each position uses a few.

use super::linear::weight;
use super::{Activation, RouterSoftmax};
use crate::array::Array;
use crate::array::fused::{self, Mixture, Part, Routes};
use crate::error::Result;
use crate::weights::{Matrix, Weights};

/// Experts and how they are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub count: i32,
    /// Experts that each position uses: those with the largest logits of the router.
    pub chosen: i32,
    /// Makes weights of the router's logits.
    pub softmax: RouterSoftmax,
    /// Inner features of an expert.
    pub size: i32,
    /// `down(activation(gate(x)) * up(x))`
    pub activation: Activation,
    /// Whether all three have biases.
    pub bias: bool,
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

impl Experts {
    /// The layers `{gate,up,down}_proj`, stacked at `{path}.switch_mlp` as mlx-lm converts them, or at
    /// `{path}.experts.{index}`, there under the names `each` (gate, up, down).
    pub fn load(w: &Weights, path: &str, spec: ExpertsSpec, hidden: i32, each: [&str; 3]) -> Result<Experts> {
        let stack = |stacked: &str, each: &str, inputs: i32, outputs: i32| -> Result<Stack> {
            let whole = format!("{path}.switch_mlp.{stacked}");
            let single = |i: i32| format!("{path}.experts.{i}.{each}");
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
            spec,
            gate: stack("gate_proj", each[0], hidden, spec.size)?,
            up: stack("up_proj", each[1], hidden, spec.size)?,
            down: stack("down_proj", each[2], spec.size, hidden)?,
        })
    }

    /// The weighted sum of the chosen experts' results, times a factor and added to a residual if one is given. `x` is
    /// `[batch, length, features]`, the router's `logits` `[batch, length, experts]`.
    pub fn forward(&self, x: &Array, logits: &Array, onto: Option<(&Array, Option<f32>)>) -> Result<Array> {
        let ExpertsSpec { count, chosen, softmax, activation, .. } = self.spec;
        let parts = [&self.gate, &self.up, &self.down].map(|s| Part {
            weight: weight(&s.weight),
            transposed: None,
            bias: s.bias.as_ref(),
        });
        let routes = Routes::Largest { logits, top_k: chosen, softmax };
        fused::experts(&Mixture { count, parts, act: activation }, x, &routes, onto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{Dtype, random};

    fn numbers(shape: &[i32], scale: f32, seed: u64) -> Array {
        random::normal(shape, scale, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let weight = |shape: &[i32]| Stack { weight: Matrix::Dense(numbers(shape, 1.0, 1)), bias: None };
        let experts = Experts {
            spec: ExpertsSpec {
                count: 4,
                chosen: 2,
                softmax: RouterSoftmax::All,
                size: 16,
                activation: Activation::Relu,
                bias: false,
            },
            gate: weight(&[4, 16, 8]),
            up: weight(&[4, 16, 8]),
            down: weight(&[4, 8, 16]),
        };
        let run = |x: &[i32], logits: &[i32]| experts.forward(&numbers(x, 1.0, 1), &numbers(logits, 1.0, 2), None);
        assert!(run(&[1, 3, 8], &[1, 3, 4]).is_ok());
        for (x, logits) in [([1, 3, 8], [1, 2, 4]), ([1, 3, 8], [1, 3, 5]), ([1, 3, 9], [1, 3, 4])] {
            assert!(run(&x, &logits).is_err(), "{x:?} and {logits:?}");
        }
    }
}
