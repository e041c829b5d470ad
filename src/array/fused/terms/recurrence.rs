//! Recurrent layers: convolutions and linear recurrences.

use super::activation::Activation;
use crate::array::Array;

/// A depthwise causal convolution. Weights are in f32, and so are its results.
#[derive(Clone)]
pub struct Convolution {
    /// `[taps, channels]`; the last tap is that of the position itself.
    pub weight: Array,
    /// `[channels]`
    pub bias: Option<Array>,
    /// What is applied to the sums.
    pub activation: Option<Activation>,
}

/// In each position a head's state `S`, `[values, keys]`, becomes
///
/// `S * decay + (S a) b^T + value key^T`
///
/// and then gives `S query`. Each operand is `[rows, length, heads of its own, width]`, in f32: consecutive heads share
/// what has fewer of them.
///
/// Without a correction this is a state-space model or linear attention, with `a = key` and `b = -beta * decay * key`
/// the gated delta rule (Yang et al. 2024, arXiv:2412.06464).
#[derive(Clone, Copy)]
pub struct Recurrence<'a> {
    /// One number for a state, or one for each column.
    pub decay: &'a Array,
    /// `a` and `b`.
    pub correction: Option<[&'a Array; 2]>,
    /// What values are stored under.
    pub key: &'a Array,
    /// What is stored; has all heads.
    pub value: &'a Array,
    /// What is read.
    pub query: &'a Array,
}
