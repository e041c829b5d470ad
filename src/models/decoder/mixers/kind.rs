//! The interface of mixers.

use crate::array::Array;
use crate::cache::StateSpec;
use crate::error::Result;
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::models::shape::StateShape;
use crate::nn::Input;
use crate::weights::Weights;

/// The specification of a mixer.
pub trait MixerSpec {
    /// Refuses impossible sizes.
    fn validate(&self, state: StateUse) -> Result<()>;

    /// Takes its weights from within the layer at `path`.
    fn load(&self, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>>;

    /// Its state, the first if there are several.
    fn state(&self) -> StateSpec;

    /// Its states, each in a slot of the cache: several for a mixer that consists of several.
    fn states(&self) -> Vec<StateSpec> {
        vec![self.state()]
    }

    /// What mixers that read the same keys and values have in common; `None` if there are none to share.
    fn shared(&self) -> Option<SharedKv>;

    /// Whether a position's result depends on how many are processed at once.
    fn depends_on_chunks(&self) -> bool {
        false
    }

    /// Its share of an estimate.
    fn shape(&self, hidden: u64, state: StateUse) -> MixerShape;
}

/// What mixers that read the same keys and values have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedKv {
    /// Key and value heads.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// How many positions are kept; all if none.
    pub window: Option<i32>,
}

/// A mixer's sizes, see [`LayerShape`](crate::models::shape::LayerShape).
pub struct MixerShape {
    /// Numbers in its weights.
    pub parameters: u64,
    /// Its state.
    pub state: StateShape,
    /// Its activations.
    pub results: Vec<u64>,
}

/// A mixer with its weights.
pub trait Mix {
    /// `x` is `[batch, length, hidden]`, and so is the result, added to the residual stream if one is given.
    fn forward(&self, x: Input, at: &At, memory: Memory, onto: Option<Residual>) -> Result<Array>;
}
