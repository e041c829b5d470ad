//! The inputs of a layer's sublayers in a forward pass.

use crate::array::Array;
use crate::array::fused::{Mask, Offset};
use crate::cache::State;
use crate::error::Result;
use crate::nn::Linear;

/// Where a mixer's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUse {
    /// It has its own.
    Own,
    /// It reads that of an earlier layer, which has its own, and adds nothing.
    SharedWith(usize),
    /// It has none: positions see only those of the same pass.
    None,
}

/// The state of a mixer.
pub enum Memory<'a> {
    /// Its own state, to which it adds.
    Own(&'a mut dyn State),
    /// That of an earlier layer, which has added to it in this pass.
    Shared(&'a mut dyn State),
    /// Those of the mixers that it consists of, each with its mask.
    Each(Vec<(Mask, &'a mut dyn State)>),
    /// None: what it sees is in this pass.
    None,
}

/// Where a layer's new positions are, and what they may see.
pub struct At<'a> {
    pub offset: &'a Offset,
    pub mask: Mask,
}

/// Where the result of a sublayer is added: the residual stream, with a scale on the result.
#[derive(Clone, Copy)]
pub struct Residual<'a> {
    pub x: &'a Array,
    pub scale: Option<f32>,
}

impl Residual<'_> {
    /// The output layer's result, added where there is something to add it to.
    pub fn add(onto: Option<Residual>, output: &Linear, x: &Array) -> Result<Array> {
        match onto {
            Some(residual) => output.forward_add(x, residual.x, residual.scale),
            None => output.forward(x),
        }
    }
}
