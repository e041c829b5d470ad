//! Products with weights.

use super::activation::Activation;
use super::norm::Norm;
use super::weight::Part;
use crate::array::Array;

/// `x @ weight^T + bias` for several weights over the same `x`, `[.., columns]`.
#[derive(Clone, Copy)]
pub struct Linear<'a> {
    /// What is multiplied.
    pub x: &'a Array,
    /// Normalises `x` first.
    pub norm: Option<&'a Norm>,
    /// The weights.
    pub parts: &'a [Part<'a>],
    /// What becomes of the products.
    pub then: Epilogue<'a>,
}

/// What becomes of products.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    /// One result a weight.
    Store,
    /// One result a weight: `act(product)`.
    Activate(Activation),
    /// Of one weight: `residual + factor * product`.
    Add {
        /// Of the product's shape.
        residual: &'a Array,
        /// 1 if none.
        factor: Option<f32>,
    },
    /// Of two weights, one result: `act(first) * second`.
    Gate(Activation),
}
