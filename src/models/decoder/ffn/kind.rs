//! The interface of feed-forward parts.

use crate::array::Array;
use crate::error::Result;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::Input;
use crate::weights::Weights;

/// The specification of a feed-forward part.
pub trait FfnSpec {
    /// Refuses impossible sizes.
    fn validate(&self) -> Result<()>;

    /// Takes its weights from within the layer at `path`.
    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>>;

    /// Its share of an estimate.
    fn shape(&self, hidden: u64) -> FfnShape;
}

/// A feed-forward part's sizes, see [`LayerShape`](crate::models::shape::LayerShape).
pub struct FfnShape {
    /// Numbers in its weights.
    pub parameters: u64,
    /// Intermediate size; of a mixture of experts, everything that passes between its parts.
    pub inner: OnDevice,
}

/// A feed-forward part with its weights.
pub trait Feed {
    /// `x` is `[batch, length, hidden]`, and so is the result, added to the residual stream if one is given.
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array>;
}
