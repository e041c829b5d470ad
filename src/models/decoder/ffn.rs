//! Feed-forward layers of the decoder.

use super::Residual;
use super::spec::{Ffn, Names, Projection, SharedGate};
use crate::array::Array;
use crate::error::Result;
use crate::nn::{Activation, Experts, Input, Joint, Linear};
use crate::weights::Weights;

pub enum FeedForward {
    Gated(Gated),
    Plain { up: Linear, down: Linear, activation: Activation },
    Moe { router: Linear, experts: Box<Experts>, shared: Option<Box<Shared>> },
}

pub struct Gated {
    gate_up: Joint<2>,
    down: Linear,
    activation: Activation,
}

pub struct Shared {
    layer: Gated,
    gate: Option<Linear>,
}

impl FeedForward {
    pub fn load(spec: &Ffn, hidden: i32, names: &Names, path: &str, w: &Weights) -> Result<FeedForward> {
        let linear = |name: &str, inputs: i32, outputs: i32, bias: bool| {
            Linear::load(w, &format!("{path}.{name}"), inputs, outputs, bias)
        };
        Ok(match *spec {
            Ffn::Gated { size, activation, gate_up, bias } => FeedForward::Gated(Gated {
                gate_up: match gate_up {
                    Projection::Separate => {
                        let parts = ["gate_proj", names.up].map(|name| (format!("{path}.{name}"), size));
                        Joint::separate(w, parts, hidden, bias)?
                    }
                    Projection::Fused => Joint::fused(w, &format!("{path}.gate_up_proj"), [size; 2], hidden, bias)?,
                },
                down: linear(names.down, size, hidden, bias)?,
                activation,
            }),
            Ffn::Plain { size, activation, bias } => FeedForward::Plain {
                up: linear(names.up, hidden, size, bias)?,
                down: linear(names.down, size, hidden, bias)?,
                activation,
            },
            Ffn::Moe { experts, shared } => FeedForward::Moe {
                router: linear("gate", hidden, experts.count, false)?,
                experts: Box::new(Experts::load(w, path, experts, hidden, names.experts)?),
                shared: match shared {
                    Some(spec) => {
                        let layer = Ffn::gated(spec.size, experts.activation);
                        let FeedForward::Gated(layer) =
                            FeedForward::load(&layer, hidden, names, &format!("{path}.shared_expert"), w)?
                        else {
                            unreachable!("a gated layer")
                        };
                        let gate = match spec.gate {
                            SharedGate::None => None,
                            SharedGate::Sigmoid => Some(linear("shared_expert_gate", hidden, 1, false)?),
                        };
                        Some(Box::new(Shared { layer, gate }))
                    }
                    None => None,
                },
            },
        })
    }

    /// The result is added to the residual stream if one is given.
    pub fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        match self {
            FeedForward::Gated(layer) => layer.forward(x, onto),
            FeedForward::Plain { up, down, activation } => Residual::add(onto, down, &up.activated(*activation, x)?),
            FeedForward::Moe { router, experts, shared } => {
                let x = x.array()?;
                let logits = router.forward(&x)?;
                let Some(shared) = shared else {
                    return experts.forward(&x, &logits, onto.map(|onto| (onto.x, onto.factor)));
                };
                let factor = onto.and_then(|onto| onto.factor);
                let beside = shared.forward(&x, onto)?;
                experts.forward(&x, &logits, Some((&beside, factor)))
            }
        }
    }
}

impl Gated {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        Residual::add(onto, &self.down, &self.gate_up.gated(self.activation, x)?)
    }
}

impl Shared {
    fn forward(&self, x: &Array, onto: Option<Residual>) -> Result<Array> {
        let Some(gate) = &self.gate else { return self.layer.forward(Input::plain(x), onto) };
        let y = (self.layer.forward(Input::plain(x), None)? * gate.forward(x)?.sigmoid())?;
        match onto {
            Some(Residual { x, factor: Some(factor) }) => x + (y * factor),
            Some(Residual { x, factor: None }) => x + y,
            None => Ok(y),
        }
    }
}
