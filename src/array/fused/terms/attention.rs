//! Softmax attention with grouped queries.

use super::memo::Memo;
use super::norm::Norm;
use super::rotation::Rotation;
use crate::array::Array;
use crate::array::quant::Quantized;
use crate::error::Result;

/// What is applied to scores before the softmax.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Their scale.
    pub scale: f32,
    /// They become `tanh(score / cap) * cap`.
    pub softcap: Option<f32>,
    /// A further score of each head, f32 `[heads]`, which takes part in its softmax and weighs no value.
    pub sinks: Option<Array>,
}

impl Scores {
    /// Scores that are only scaled.
    pub fn scaled(scale: f32) -> Scores {
        Scores { scale, ..Scores::default() }
    }
}

/// Where values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Beside the keys.
    #[default]
    Own,
    /// They are the first features of the keys; what is stored beside these has no features.
    OfKeys,
}

/// Attention of a layer, with everything between it and the projections.
pub struct Attention {
    /// Query heads.
    pub heads: i32,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: i32,
    /// Features of a head of queries and keys.
    pub key_dim: i32,
    /// Features of a head of values.
    pub value_dim: i32,
    /// Where values are.
    pub values: Values,
    /// What is applied to scores.
    pub scores: Scores,
    /// Norms of each head of queries and keys.
    pub norms: HeadNorms,
    /// Rotation (RoPE) of queries and keys, after the norms.
    pub rotation: Option<Rotation>,
    /// Data that a back end has prepared from it.
    pub memo: Memo,
}

impl Attention {
    /// Without norms and rotation, all heads of one size.
    pub fn plain(heads: i32, kv_heads: i32, head_dim: i32, scores: Scores) -> Attention {
        Attention {
            heads,
            kv_heads,
            key_dim: head_dim,
            value_dim: head_dim,
            values: Values::Own,
            scores,
            norms: HeadNorms::None,
            rotation: None,
            memo: Memo::default(),
        }
    }

    /// Features of what is stored beside a head's keys.
    pub fn beside(&self) -> i32 {
        if self.values == Values::Own { self.value_dim } else { 0 }
    }

    /// The values, from all keys and what is stored beside them.
    pub(in crate::array) fn values(&self, keys: &Array, beside: &Array) -> Result<Array> {
        match self.values {
            Values::Own => Ok(beside.clone()),
            Values::OfKeys => keys.slice_axis(-1, 0, self.value_dim),
        }
    }
}

/// Norms of each head.
pub enum HeadNorms {
    /// None.
    None,
    /// One weight for all heads, `[features]`.
    Same {
        /// Of queries.
        q: Norm,
        /// Of keys.
        k: Norm,
    },
    /// One weight for all heads, and the norms come after the rotation.
    AfterRotation {
        /// Of queries.
        q: Norm,
        /// Of keys.
        k: Norm,
    },
    /// Layer norms without a bias, with weights for each head, `[heads, 1, features]`.
    Each {
        /// Added to the variance.
        eps: f32,
        /// Of queries.
        q: Array,
        /// Of keys.
        k: Array,
    },
}

impl HeadNorms {
    /// Epsilon and weights of queries and keys where both are RMS norms, nothing where there are none; an error where
    /// they are something else.
    pub(in crate::array) fn rms(&self) -> Result<Option<(f32, &Array, &Array)>, NotRms> {
        match self {
            HeadNorms::None => Ok(None),
            HeadNorms::Same { q, k } => match (q.rms(), k.rms()) {
                (Some((eps, q)), Some((same, k))) if eps == same => Ok(Some((eps, q, k))),
                _ => Err(NotRms),
            },
            HeadNorms::AfterRotation { .. } | HeadNorms::Each { .. } => Err(NotRms),
        }
    }
}

/// Norms that are not RMS norms before the rotation.
pub(in crate::array) struct NotRms;

/// Keys or values of attention.
#[derive(Clone, Copy)]
pub enum Past<'a> {
    /// `[batch, kv heads, positions, features]`
    Plain(&'a Array),
    /// Quantized over the features, `[batch, kv heads, capacity, features]`, and how many positions of it count. Affine.
    Quantized(&'a Quantized, i32),
}
