//! In place of a feed-forward part where a layer has none.

use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::Input;
use crate::weights::Weights;

/// Adds nothing to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFfn;

impl FfnSpec for NoFfn {
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    fn load(&self, _: i32, _: &str, _: &Weights) -> Result<Box<dyn Feed>> {
        Ok(Box::new(NoFfn))
    }

    fn shape(&self, _: u64) -> FfnShape {
        FfnShape { parameters: 0, inner: OnDevice::same(0) }
    }
}

impl Feed for NoFfn {
    fn forward(&self, _: Input, onto: Option<Residual>) -> Result<Array> {
        onto.map(|onto| onto.x.clone()).ok_or_else(|| Error::internal("a norm of nothing"))
    }
}
