//! Linear layers: matmuls with weights.

use super::activation::Activation;
use super::norm::Norm;
use super::weight::Part;
use crate::array::Array;

/// `x @ weight^T + bias` for several weights over the same `x`, `[.., columns]`.
#[derive(Clone, Copy)]
pub struct Linear<'a> {
    /// The input.
    pub x: &'a Array,
    /// Normalises `x` first.
    pub norm: Option<&'a Norm>,
    /// The weights.
    pub parts: &'a [Part<'a>],
    /// What follows the matmuls.
    pub epilogue: Epilogue<'a>,
}

/// What follows a matmul before its result is stored.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    /// One result per weight.
    Store,
    /// One result per weight: `activation(product)`.
    Activate(Activation),
    /// Of one weight: `residual + scale * product`.
    Add {
        /// Of the product's shape.
        residual: &'a Array,
        /// 1 if none.
        scale: Option<f32>,
    },
    /// Of two weights, one result: `activation(first) * second`.
    Gate(Activation),
}
