//! In place of a mixer where a layer has none.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use crate::array::Array;
use crate::cache::StateSpec;
use crate::error::{Error, Result};
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::models::shape::StateShape;
use crate::nn::Input;
use crate::weights::Weights;

/// Adds nothing to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMixer;

impl MixerSpec for NoMixer {
    fn validate(&self, state: StateUse) -> Result<()> {
        match state {
            StateUse::None => Ok(()),
            _ => Err(Error::internal("a state of nothing")),
        }
    }

    fn load(&self, _: i32, _: StateUse, _: &str, _: &Weights) -> Result<Box<dyn Mix>> {
        Ok(Box::new(NoMixer))
    }

    fn state(&self) -> StateSpec {
        StateSpec::Recurrent(Vec::new())
    }

    fn shared(&self) -> Option<SharedKv> {
        None
    }

    fn shape(&self, _: u64, _: StateUse) -> MixerShape {
        MixerShape { parameters: 0, state: StateShape::None, results: Vec::new() }
    }
}

impl Mix for NoMixer {
    fn forward(&self, _: Input, _: &At, _: Memory, onto: Option<Residual>) -> Result<Array> {
        onto.map(|onto| onto.x.clone()).ok_or_else(|| Error::internal("a norm of nothing"))
    }
}
