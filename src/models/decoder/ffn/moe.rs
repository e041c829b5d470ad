//! A router, the experts that it chooses, and optionally a shared expert.

use super::gated::{Gated, GatedSpec};
use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::Array;
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::{Activation, Experts, ExpertsSpec, Input, Linear, Router, RouterBias, RouterSpec};
use crate::weights::Weights;

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeSpec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// How experts are chosen.
    pub router: RouterSpec,
    /// The experts.
    pub experts: ExpertsSpec,
    /// The expert that every position uses.
    pub shared: Option<SharedExpert>,
}

/// An expert that every position uses.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedExpert {
    /// The expert, and its name within the mixture.
    pub layer: GatedSpec,
    /// The scale of its result.
    pub gate: SharedGate,
}

/// The scale of a shared expert's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedGate {
    /// Nothing.
    None,
    /// `sigmoid(gate(x))`, one number for each position, of the layer at this name within the mixture.
    Sigmoid(&'static str),
    /// Of two numbers for each position, the softmax of the layer at this name within the mixture, the second; the first is
    /// the scale of the other experts' result.
    Softmax(&'static str),
}

impl SharedExpert {
    /// SwiGLU of this name and size, whose result counts in full.
    pub fn plain(name: &'static str, size: i32) -> SharedExpert {
        SharedExpert { layer: GatedSpec { name, ..GatedSpec::new(size, Activation::Silu) }, gate: SharedGate::None }
    }
}

impl MoeSpec {
    /// At `mlp`, without a shared expert.
    pub fn new(router: RouterSpec, experts: ExpertsSpec) -> MoeSpec {
        MoeSpec { name: "mlp", router, experts, shared: None }
    }
}

impl FfnSpec for MoeSpec {
    fn validate(&self) -> Result<()> {
        size("num_experts (num_local_experts)", self.experts.num_experts, 1 << 12)?;
        self.router.validate(self.experts.num_experts)?;
        size("moe_intermediate_size", self.experts.intermediate_size, 1 << 20)?;
        match &self.shared {
            Some(shared) => size("shared_expert_intermediate_size", shared.layer.size, 1 << 24),
            None => Ok(()),
        }
    }

    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>> {
        let path = format!("{path}.{}", self.name);
        let shared = |spec: &SharedExpert| -> Result<Shared> {
            let gate = |name: &str, outputs: i32, bias: bool| {
                Linear::load(w, &format!("{path}.{name}"), hidden, outputs, bias)
            };
            let gate = match spec.gate {
                SharedGate::None => Gate::None,
                SharedGate::Sigmoid(name) => Gate::Sigmoid(gate(name, 1, false)?),
                SharedGate::Softmax(name) => Gate::Softmax(gate(name, 2, true)?),
            };
            Ok(Shared { layer: spec.layer.build(hidden, &path, w)?, gate })
        };
        Ok(Box::new(Moe {
            router: Router::load(w, &path, &self.router, hidden, self.experts.num_experts)?,
            experts: Experts::load(w, &path, &self.experts, hidden)?,
            shared: self.shared.as_ref().map(shared).transpose()?,
        }))
    }

    fn shape(&self, hidden: u64) -> FfnShape {
        let (count, size) = (self.experts.num_experts as u64, self.experts.intermediate_size as u64);
        let bias = if self.experts.bias { 2 * size + hidden } else { 0 };
        let router = match self.router.bias {
            RouterBias::None | RouterBias::ChoiceIfThere(_) => count * hidden,
            RouterBias::Logits | RouterBias::Choice(_) => count * (hidden + 1),
        };
        let mut parameters = router + count * (3 * size * hidden + bias);
        let mut inner = count;
        if let Some(shared) = &self.shared {
            let gate = match shared.gate {
                SharedGate::None => 0,
                SharedGate::Sigmoid(_) => hidden,
                SharedGate::Softmax(_) => 2 * (hidden + 1),
            };
            parameters += shared.layer.shape(hidden).parameters + gate;
            inner += shared.layer.size as u64 + 2 * hidden;
        }
        // Inputs and outputs of the chosen experts; on a CPU within one operation.
        let chosen = self.router.top_k as u64 * (2 * size + 2 * hidden);
        FfnShape { parameters, inner: OnDevice { cpu: inner, gpu: inner + chosen } }
    }
}

struct Moe {
    router: Router,
    experts: Experts,
    shared: Option<Shared>,
}

struct Shared {
    layer: Gated,
    gate: Gate,
}

enum Gate {
    None,
    Sigmoid(Linear),
    Softmax(Linear),
}

impl Feed for Moe {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let logits = self.router.logits(&x)?;
        let Some(shared) = &self.shared else {
            return self.experts.forward(&x, &self.router, &logits, onto.map(|onto| (onto.x, onto.scale)));
        };
        if let Gate::Softmax(gate) = &shared.gate {
            let parts = gate.forward(&x)?.softmax(-1, true)?.split(2, -1)?;
            let own = (self.experts.forward(&x, &self.router, &logits, None)? * &parts[0])?;
            let y = own + (shared.layer.forward(Input::plain(&x), None)? * &parts[1])?;
            return added(onto, y?);
        }
        let scale = onto.and_then(|onto| onto.scale);
        let beside = shared.forward(&x, onto)?;
        self.experts.forward(&x, &self.router, &logits, Some((&beside, scale)))
    }
}

impl Shared {
    fn forward(&self, x: &Array, onto: Option<Residual>) -> Result<Array> {
        match &self.gate {
            Gate::Sigmoid(gate) => {
                added(onto, (self.layer.forward(Input::plain(x), None)? * gate.forward(x)?.sigmoid())?)
            }
            Gate::None | Gate::Softmax(_) => self.layer.forward(Input::plain(x), onto),
        }
    }
}

/// A result, added where there is something to add it to.
fn added(onto: Option<Residual>, y: Array) -> Result<Array> {
    match onto {
        Some(Residual { x, scale: Some(scale) }) => x + (y * scale),
        Some(Residual { x, scale: None }) => x + y,
        None => Ok(y),
    }
}
