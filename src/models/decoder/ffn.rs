//! Feed-forward layers of the decoder.

use super::spec::{Ffn, Names, Projection};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::nn::{Activation, Linear};
use crate::weights::Weights;

pub enum FeedForward {
    Gated { gate: Linear, up: Linear, down: Linear, activation: Activation },
    FusedGated { gate_up: Linear, down: Linear, activation: Activation },
    Plain { up: Linear, down: Linear, activation: Activation },
}

impl FeedForward {
    pub fn load(spec: &Ffn, hidden: i32, names: &Names, path: &str, w: &Weights) -> Result<FeedForward> {
        let linear = |name: &str, inputs: i32, outputs: i32, bias: bool| {
            Linear::load(w, &format!("{path}.{name}"), inputs, outputs, bias)
        };
        Ok(match *spec {
            Ffn::Gated { size, activation, gate_up: Projection::Separate, bias } => FeedForward::Gated {
                gate: linear("gate_proj", hidden, size, bias)?,
                up: linear(names.up, hidden, size, bias)?,
                down: linear(names.down, size, hidden, bias)?,
                activation,
            },
            Ffn::Gated { size, activation, gate_up: Projection::Fused, bias } => FeedForward::FusedGated {
                gate_up: linear("gate_up_proj", hidden, 2 * size, bias)?,
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

    pub fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            FeedForward::Gated { gate, up, down, activation } => {
                down.forward(&(activation.apply(&gate.forward(x)?)? * up.forward(x)?)?)
            }
            FeedForward::FusedGated { gate_up, down, activation } => {
                let parts = gate_up.forward(x)?.split(2, -1)?;
                let [gate, up] = <[Array; 2]>::try_from(parts).map_err(|_| Error::internal("split"))?;
                down.forward(&(activation.apply(&gate)? * up)?)
            }
            FeedForward::Plain { up, down, activation } => down.forward(&activation.apply(&up.forward(x)?)?),
        }
    }
}
