//! Feed-forward layers of the decoder.

use super::Residual;
use super::spec::{Ffn, Names, Projection};
use crate::array::Array;
use crate::error::Result;
use crate::nn::{Activation, Input, Joint, Linear};
use crate::weights::Weights;

pub enum FeedForward {
    Gated { gate_up: Joint<2>, down: Linear, activation: Activation },
    Plain { up: Linear, down: Linear, activation: Activation },
}

impl FeedForward {
    pub fn load(spec: &Ffn, hidden: i32, names: &Names, path: &str, w: &Weights) -> Result<FeedForward> {
        let linear = |name: &str, inputs: i32, outputs: i32, bias: bool| {
            Linear::load(w, &format!("{path}.{name}"), inputs, outputs, bias)
        };
        Ok(match *spec {
            Ffn::Gated { size, activation, gate_up, bias } => FeedForward::Gated {
                gate_up: match gate_up {
                    Projection::Separate => {
                        let parts = ["gate_proj", names.up].map(|name| (format!("{path}.{name}"), size));
                        Joint::separate(w, parts, hidden, bias)?
                    }
                    Projection::Fused => Joint::fused(w, &format!("{path}.gate_up_proj"), [size; 2], hidden, bias)?,
                },
                down: linear(names.down, size, hidden, bias)?,
                activation,
            },
            Ffn::Plain { size, activation, bias } => FeedForward::Plain {
                up: linear(names.up, hidden, size, bias)?,
                down: linear(names.down, size, hidden, bias)?,
                activation,
            },
        })
    }

    /// The result is added to the residual stream if one is given.
    pub fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        match self {
            FeedForward::Gated { gate_up, down, activation } => {
                Residual::add(onto, down, &gate_up.gated(*activation, x)?)
            }
            FeedForward::Plain { up, down, activation } => {
                Residual::add(onto, down, &activation.apply(&up.forward(&x.array()?)?)?)
            }
        }
    }
}
