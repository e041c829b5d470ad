//! `down(activation(up(x)))`

use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::Array;
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::{Activation, Input, Linear};
use crate::weights::Weights;

/// Two projections with an activation between them.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainSpec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// Intermediate size.
    pub size: i32,
    /// The activation.
    pub activation: Activation,
    /// Whether both have biases.
    pub bias: bool,
    /// Where `up` is.
    pub up: &'static str,
    /// Where `down` is.
    pub down: &'static str,
}

impl FfnSpec for PlainSpec {
    fn validate(&self) -> Result<()> {
        size("intermediate_size", self.size, 1 << 24)
    }

    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>> {
        let linear = |name: &str, inputs: i32, outputs: i32| {
            Linear::load(w, &format!("{path}.{}.{name}", self.name), inputs, outputs, self.bias)
        };
        let (up, down) = (linear(self.up, hidden, self.size)?, linear(self.down, self.size, hidden)?);
        Ok(Box::new(Plain { up, down, activation: self.activation }))
    }

    fn shape(&self, hidden: u64) -> FfnShape {
        let size = self.size as u64;
        let bias = if self.bias { size + hidden } else { 0 };
        FfnShape { parameters: 2 * size * hidden + bias, inner: OnDevice::same(size) }
    }
}

struct Plain {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Feed for Plain {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        Residual::add(onto, &self.down, &self.up.activated(self.activation, x)?)
    }
}
