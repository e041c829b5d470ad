//! `down(activation(gate(x)) * up(x))`

use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::Array;
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::{Activation, Input, Joint, Linear};
use crate::weights::Weights;

/// A gated layer.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedSpec {
    /// Where it is within the layer; empty if its projections are within the layer itself.
    pub name: &'static str,
    /// Intermediate size.
    pub size: i32,
    /// The activation.
    pub activation: Activation,
    /// Whether all three projections have biases.
    pub bias: bool,
    /// How `gate` and `up` are stored.
    pub gate_up: GateUp,
    /// Where `down` is.
    pub down: &'static str,
}

/// How `gate` and `up` are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateUp {
    /// One matrix each.
    Separate {
        /// The gate.
        gate: &'static str,
        /// The up projection.
        up: &'static str,
    },
    /// One fused matrix, the rows of `gate` first.
    Fused(&'static str),
    /// One fused matrix, the rows of `up` first.
    FusedUpFirst(&'static str),
}

impl GatedSpec {
    /// With Llama's names, without biases.
    pub fn new(size: i32, activation: Activation) -> GatedSpec {
        let gate_up = GateUp::Separate { gate: "gate_proj", up: "up_proj" };
        GatedSpec { name: "mlp", size, activation, bias: false, gate_up, down: "down_proj" }
    }

    pub(super) fn build(&self, hidden: i32, path: &str, w: &Weights) -> Result<Gated> {
        let path = match self.name {
            "" => path.to_owned(),
            name => format!("{path}.{name}"),
        };
        let gate_up = match self.gate_up {
            GateUp::Separate { gate, up } => {
                let parts = [gate, up].map(|name| (format!("{path}.{name}"), self.size));
                Joint::separate(w, parts, hidden, self.bias)?
            }
            GateUp::Fused(name) => Joint::fused(w, &format!("{path}.{name}"), [self.size; 2], hidden, self.bias)?,
            GateUp::FusedUpFirst(name) => {
                Joint::fused_backwards(w, &format!("{path}.{name}"), self.size, hidden, self.bias)?
            }
        };
        let down = Linear::load(w, &format!("{path}.{}", self.down), self.size, hidden, self.bias)?;
        Ok(Gated { gate_up, down, activation: self.activation })
    }
}

impl FfnSpec for GatedSpec {
    fn validate(&self) -> Result<()> {
        size("intermediate_size", self.size, 1 << 24)
    }

    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>> {
        Ok(Box::new(self.build(hidden, path, w)?))
    }

    fn shape(&self, hidden: u64) -> FfnShape {
        let size = self.size as u64;
        let bias = if self.bias { 2 * size + hidden } else { 0 };
        FfnShape { parameters: 3 * size * hidden + bias, inner: OnDevice::same(size) }
    }
}

/// The layer with its weights.
pub struct Gated {
    gate_up: Joint<2>,
    down: Linear,
    activation: Activation,
}

impl Feed for Gated {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        Residual::add(onto, &self.down, &self.gate_up.gated(self.activation, x)?)
    }
}
