//! Mixtures of experts.

use super::activation::Activation;
use super::weight::Part;
use crate::array::Array;

/// Experts: gated feed-forward layers, of which each row uses a few.
#[derive(Clone, Copy)]
pub struct Mixture<'a> {
    /// How many there are.
    pub num_experts: i32,
    /// Gate, up and down of all experts with their biases: stacks of matrices, `[experts, rows, columns]`, and
    /// `[experts, rows]`.
    pub parts: [Part<'a>; 3],
    /// `down(activation(gate(x)) * up(x))`
    pub activation: Activation,
}

/// Which experts a row uses, and the weights of their results.
#[derive(Clone, Copy)]
pub enum Routes<'a> {
    /// Those with the largest of a router's logits.
    Largest {
        /// `[.., experts]`
        logits: &'a Array,
        /// How many a row uses.
        top_k: i32,
        /// Makes weights of the logits.
        softmax: RouterSoftmax,
    },
    /// Chosen elsewhere.
    Chosen {
        /// u32 `[.., top_k]`
        experts: &'a Array,
        /// `[.., top_k]`
        weights: &'a Array,
    },
}

/// The logits over which the router's softmax is taken to weight the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterSoftmax {
    /// Those of all experts.
    All,
    /// Those of the chosen ones. The same as all, divided by the sum of the chosen.
    Chosen,
}
