//! What recurrent mixers share.

use super::kind::SharedKv;
use crate::array::fused::{Activation, Convolution};
use crate::array::{Array, Dtype};
use crate::cache::{Recurrent, RecurrentSpec};
use crate::error::{Error, Result};
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{Memory, StateUse};
use crate::models::shape::StateShape;
use crate::weights::Weights;

/// An array of a state. All are in f32: types of 16 bits would lose in each position what the one before has added.
pub(super) fn array(name: &'static str, shape: &[i32]) -> RecurrentSpec {
    RecurrentSpec { name, shape: shape.to_vec(), dtype: Dtype::F32 }
}

/// The size of a state.
pub(super) fn bytes(state: &[RecurrentSpec]) -> StateShape {
    let numbers = |spec: &RecurrentSpec| spec.shape.iter().map(|&n| n as u64).product::<u64>();
    StateShape::Fixed { bytes: state.iter().map(numbers).sum::<u64>() * 4 }
}

/// Refuses a layer without a state of its own.
pub(super) fn own(state: StateUse) -> Result<()> {
    match state {
        StateUse::Own => Ok(()),
        StateUse::SharedWith(_) | StateUse::None => Err(invalid("a recurrent layer has a state of its own".into())),
    }
}

/// There are no keys and values.
pub(super) const SHARED: Option<SharedKv> = None;

/// The state of a mixer.
pub(super) fn state(memory: Memory<'_>) -> Result<&mut Recurrent> {
    match memory {
        Memory::Own(state) => Recurrent::of(state).ok_or_else(|| Error::internal("a state of another kind")),
        _ => Err(Error::internal("a recurrent layer without a state")),
    }
}

/// A depthwise convolution of the latest positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// How many positions each result depends on.
    pub taps: i32,
    /// Whether it has a bias.
    pub bias: bool,
    /// What is applied to the sums.
    pub activation: Option<Activation>,
}

impl ConvSpec {
    /// With the activation that most models have.
    pub fn silu(taps: i32, bias: bool) -> ConvSpec {
        ConvSpec { taps, bias, activation: Some(Activation::Silu) }
    }

    pub(super) fn validate(&self, key: &str) -> Result<()> {
        match self.taps {
            // There would be nothing to remember.
            1 => Err(invalid(format!("{key} is 1"))),
            taps => size(key, taps, 64),
        }
    }

    /// What it remembers of so many channels.
    pub(super) fn state(&self, name: &'static str, channels: i32) -> RecurrentSpec {
        array(name, &[self.taps - 1, channels])
    }

    /// Numbers in its weights.
    pub(super) fn parameters(&self, channels: u64) -> u64 {
        channels * (self.taps as u64 + u64::from(self.bias))
    }

    /// The convolution at `path`, `[channels, 1, taps]` as published or `[channels, taps, 1]` as mlx-lm converts it.
    pub(super) fn load(&self, w: &Weights, path: &str, channels: i32) -> Result<Convolution> {
        let name = format!("{path}.weight");
        let taps = self.taps;
        let published = w.shape(&name).is_some_and(|shape| shape == [channels, 1, taps]);
        let stored = if published { [channels, 1, taps] } else { [channels, taps, 1] };
        let by_tap = |a: Array| a.reshape(&[channels, taps])?.transpose()?.astype(Dtype::F32)?.contiguous();
        let weight = w.derived(&name, &stored, by_tap)?;
        let bias = self.bias.then(|| w.derived(&format!("{path}.bias"), &[channels], |a| a.astype(Dtype::F32)));
        Ok(Convolution { weight, bias: bias.transpose()?, activation: self.activation })
    }
}

/// A vector that takes part in a recurrence.
pub(super) fn vector(w: &Weights, name: &str, shape: &[i32]) -> Result<Array> {
    w.derived(name, shape, |a| a.astype(Dtype::F32))
}

/// `log(1 + e^x)`
pub(super) fn softplus(x: &Array) -> Result<Array> {
    let zero = Array::scalar(0.0, x.dtype())?;
    x.maximum(&zero)? + ((x.abs()?.negative()?.exp()? + 1.0)?).log()
}
