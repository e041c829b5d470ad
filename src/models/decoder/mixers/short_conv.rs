//! A gated short convolution (LFM2).

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use super::recurrent::{self, ConvSpec};
use crate::array::Array;
use crate::array::fused::{Convolution, convolve};
use crate::cache::{RecurrentSpec, StateSpec};
use crate::error::Result;
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::nn::{Input, Linear};
use crate::weights::Weights;

/// `output(c * conv(b * x))`, where `b`, `c` and `x` are projections of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortConvSpec {
    /// Where it is within the layer.
    pub name: &'static str,
    /// Channels.
    pub channels: i32,
    /// The convolution.
    pub conv: ConvSpec,
    /// Whether the projections have biases.
    pub bias: bool,
}

impl ShortConvSpec {
    fn arrays(&self) -> Vec<RecurrentSpec> {
        vec![self.conv.state("conv", self.channels)]
    }
}

impl MixerSpec for ShortConvSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        recurrent::own(state)?;
        self.conv.validate("conv_L_cache")
    }

    fn load(&self, hidden: i32, _: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        let at = |name: &str| format!("{path}.{}.{name}", self.name);
        Ok(Box::new(ShortConv {
            input: Linear::load(w, &at("in_proj"), hidden, 3 * self.channels, self.bias)?,
            conv: self.conv.load(w, &at("conv"), self.channels)?,
            output: Linear::load(w, &at("out_proj"), self.channels, hidden, self.bias)?,
        }))
    }

    fn state(&self) -> StateSpec {
        StateSpec::Recurrent(self.arrays())
    }

    fn shared(&self) -> Option<SharedKv> {
        recurrent::SHARED
    }

    fn shape(&self, hidden: u64, _: StateUse) -> MixerShape {
        let channels = self.channels as u64;
        let bias = if self.bias { 3 * channels + hidden } else { 0 };
        MixerShape {
            parameters: 4 * channels * hidden + bias + self.conv.parameters(channels),
            state: recurrent::bytes(&self.arrays()),
            results: vec![hidden, 3 * channels, channels, 2 * channels],
        }
    }
}

struct ShortConv {
    input: Linear,
    conv: Convolution,
    output: Linear,
}

impl Mix for ShortConv {
    fn forward(&self, x: Input, _: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let state = recurrent::state(memory)?;
        let past = state.get(x.dim(0))?;
        let parts = self.input.forward(&x)?.split(3, -1)?;
        let (filtered, next) = convolve(&self.conv, &(&parts[0] * &parts[2])?, &past[0])?;
        state.set(vec![next])?;
        let y = (&parts[1] * filtered.astype(x.dtype())?)?;
        Residual::add(onto, &self.output, &y)
    }
}
