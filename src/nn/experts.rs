//! The experts of a mixture: gated feed-forward layers, of which each position uses a few.

use super::linear::weight;
use super::{Activation, Router};
use crate::array::Array;
use crate::array::fused::{self, Mixture, Part, Routes};
use crate::error::Result;
use crate::weights::{Matrix, Weights};

/// The experts of a mixture, all alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub num_experts: i32,
    /// Intermediate size of an expert.
    pub intermediate_size: i32,
    /// `down(activation(gate(x)) * up(x))`
    pub activation: Activation,
    /// Whether all three projections have biases.
    pub bias: bool,
    /// Names of their weights, within the mixture.
    pub names: ExpertNames,
}

/// Names of the weights of experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertNames {
    /// Stacked, as mlx-lm converts them: `{stacked}.{gate,up,down}_proj`.
    pub stacked: &'static str,
    /// Separately, as they are published: `{each}.{index}.{..}`.
    pub each: &'static str,
    /// Gate, up and down of an expert that is stored separately.
    pub parts: [&'static str; 3],
}

impl ExpertsSpec {
    /// SwiGLU without biases, with Llama's names.
    pub fn new(num_experts: i32, intermediate_size: i32) -> ExpertsSpec {
        let (activation, names) = (Activation::Silu, ExpertNames::default());
        ExpertsSpec { num_experts, intermediate_size, activation, bias: false, names }
    }
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

impl Experts {
    /// The experts of the mixture at `path`, stacked or separate, whichever the checkpoint has.
    pub fn load(w: &Weights, path: &str, spec: &ExpertsSpec, hidden: i32) -> Result<Experts> {
        let names = &spec.names;
        let stack = |stacked: &str, part: usize, inputs: i32, outputs: i32| -> Result<Stack> {
            let whole = format!("{path}.{}.{stacked}", names.stacked);
            let single = |i: i32| format!("{path}.{}.{i}.{}", names.each, names.parts[part]);
            let one_by_one = w.has(&format!("{}.weight", single(0)));
            let names = match one_by_one {
                true => (0..spec.num_experts).map(single).collect(),
                false => Vec::new(),
            };
            let weight = match one_by_one {
                true => w.stacked_matrices(&names, outputs, inputs)?,
                false => w.matrices(&whole, spec.num_experts, outputs, inputs)?,
            };
            let bias = match (spec.bias, one_by_one) {
                (false, _) => None,
                (true, true) => {
                    let names: Vec<String> = names.iter().map(|name| format!("{name}.bias")).collect();
                    Some(w.stacked(&names, &[outputs])?)
                }
                (true, false) => Some(w.tensor(&format!("{whole}.bias"), &[spec.num_experts, outputs])?),
            };
            Ok(Stack { weight, bias })
        };
        Ok(Experts {
            spec: spec.clone(),
            gate: stack("gate_proj", 0, hidden, spec.intermediate_size)?,
            up: stack("up_proj", 1, hidden, spec.intermediate_size)?,
            down: stack("down_proj", 2, spec.intermediate_size, hidden)?,
        })
    }

    /// The weighted sum of the results of the experts that `router` chooses by its `logits`, `[batch, length,
    /// experts]`, scaled and added to a residual if one is given. `x` is `[batch, length, features]`.
    pub fn forward(
        &self,
        x: &Array,
        router: &Router,
        logits: &Array,
        onto: Option<(&Array, Option<f32>)>,
    ) -> Result<Array> {
        let parts = [&self.gate, &self.up, &self.down].map(|s| Part {
            weight: weight(&s.weight),
            transposed: None,
            bias: s.bias.as_ref(),
        });
        let mixture = Mixture { num_experts: self.spec.num_experts, parts, activation: self.spec.activation };
        if let Some(softmax) = router.softmax() {
            let routes = Routes::Largest { logits, top_k: router.top_k(), softmax };
            return fused::experts(&mixture, x, &routes, onto);
        }
        let (experts, weights) = router.choose(logits)?;
        fused::experts(&mixture, x, &Routes::Chosen { experts: &experts, weights: &weights }, onto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{Dtype, random};
    use crate::nn::RouterSpec;

    fn numbers(shape: &[i32], scale: f32, seed: u64) -> Array {
        random::normal(shape, scale, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let weight = |shape: &[i32]| Stack { weight: Matrix::Dense(numbers(shape, 1.0, 1)), bias: None };
        let experts = Experts {
            spec: ExpertsSpec {
                num_experts: 4,
                intermediate_size: 16,
                activation: Activation::Relu,
                bias: false,
                names: ExpertNames::default(),
            },
            gate: weight(&[4, 16, 8]),
            up: weight(&[4, 16, 8]),
            down: weight(&[4, 8, 16]),
        };
        let run = |x: &[i32], logits: &[i32]| {
            let plain = Router::new(RouterSpec::softmax(2, false), 4, numbers(&[4, 8], 1.0, 9)).unwrap();
            experts.forward(&numbers(x, 1.0, 1), &plain, &numbers(logits, 1.0, 2), None)
        };
        assert!(run(&[1, 3, 8], &[1, 3, 4]).is_ok());
        for (x, logits) in [([1, 3, 8], [1, 2, 4]), ([1, 3, 8], [1, 3, 5]), ([1, 3, 9], [1, 3, 4])] {
            assert!(run(&x, &logits).is_err(), "{x:?} and {logits:?}");
        }
    }
}
