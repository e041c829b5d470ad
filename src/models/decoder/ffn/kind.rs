//! What all kinds of feed-forward parts have in common.

use crate::array::Array;
use crate::error::Result;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::Input;
use crate::weights::Weights;

/// What a kind of feed-forward part says of itself.
pub trait FfnSpec {
    /// Refuses sizes that cannot be.
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
    /// Inner features; of a mixture of experts all that its parts hand to each other.
    pub inner: OnDevice,
}

/// A feed-forward part with its weights.
pub trait Feed {
    /// `x` is `[batch, length, hidden]`, and so is the result, added to the residual stream if one is given.
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array>;
}
