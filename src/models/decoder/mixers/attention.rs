//! The specification of softmax attention with grouped queries.

use super::temperature::Temperature;
use crate::models::decoder::spec::NormAt;
use crate::nn::{NormSpec, RopeSpec};

/// Softmax attention with grouped queries.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// Features of a head of values, if it has others.
    pub value_dim: Option<i32>,
    /// Biases of the projections.
    pub bias: AttentionBias,
    /// Projections are limited to this, in both directions.
    pub clip_qkv: Option<f32>,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Epsilon of an RMS norm of each head of values, which has no weights.
    pub value_norm: Option<f32>,
    /// RoPE; `None` where positions are not encoded.
    pub rope: Option<RopeSpec>,
    /// How many positions a query sees, itself included; all if none.
    pub window: Option<i32>,
    /// Scale of the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// How queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Scale of values.
    pub value_scale: Option<f32>,
    /// A learned score of each head, which takes part in its softmax and weighs no value.
    pub sinks: Option<&'static str>,
    /// Scale of the result, computed from the attention's input.
    pub gate: Option<OutputGate>,
    /// The norm of the result, within the attention.
    pub output_norm: Option<NormAt>,
    /// Names of its weights.
    pub names: AttentionNames,
}

/// The result is multiplied by the sigmoid of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputGate {
    /// The projection within the attention.
    pub name: &'static str,
    /// What has a factor of its own.
    pub each: GateEach,
}

/// What has a factor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateEach {
    /// Each head.
    Head,
    /// Each feature of each head.
    Feature,
}

/// Names of the weights of an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionNames {
    /// The attention within the layer; the others are within it. Empty if they are within the layer itself.
    pub attention: &'static str,
    /// The q, k and v projections.
    pub qkv: QkvNames,
    /// The output projection.
    pub output: &'static str,
    /// The norms of queries and keys.
    pub qk_norm: [&'static str; 2],
}

/// How the q, k and v projections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvNames {
    /// One matrix each.
    Separate([&'static str; 3]),
    /// One fused matrix: the rows of q, then k, then v.
    Fused(&'static str),
    /// One fused matrix: for each key head the rows of its queries, then of the key and the value.
    Interleaved(&'static str),
    /// Queries and keys. Values are what the projection of keys gives.
    KeysAreValues([&'static str; 2]),
    /// One matrix each; that of q has after the rows of each head as many for a gate, whose sigmoid the head's result
    /// is multiplied by.
    WithGates([&'static str; 3]),
}

impl QkvNames {
    /// Rows of the q projection for each feature of a query.
    pub(super) fn rows(self) -> i32 {
        if matches!(self, QkvNames::WithGates(_)) { 2 } else { 1 }
    }
}

impl Default for AttentionNames {
    /// Llama's names.
    fn default() -> Self {
        AttentionNames {
            attention: "self_attn",
            qkv: QkvNames::Separate(["q_proj", "k_proj", "v_proj"]),
            output: "o_proj",
            qk_norm: ["q_norm", "k_norm"],
        }
    }
}

/// Biases of an attention's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// On q, k and v.
    Qkv,
    /// On the output.
    Output,
    /// On q, k, v and the output.
    All,
}

impl AttentionBias {
    /// What `attention_bias` says.
    pub fn all_if(bias: bool) -> AttentionBias {
        AttentionBias::of(bias, bias)
    }

    /// What two settings say, of q, k and v, and of the output.
    pub fn of(qkv: bool, output: bool) -> AttentionBias {
        match (qkv, output) {
            (false, false) => AttentionBias::None,
            (true, false) => AttentionBias::Qkv,
            (false, true) => AttentionBias::Output,
            (true, true) => AttentionBias::All,
        }
    }

    pub(super) fn on_qkv(self) -> bool {
        matches!(self, AttentionBias::Qkv | AttentionBias::All)
    }

    pub(super) fn on_output(self) -> bool {
        matches!(self, AttentionBias::Output | AttentionBias::All)
    }
}

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// Over each head, the same weights for all heads.
    Head(NormSpec),
    /// The same, after the rotation.
    AfterRotation(NormSpec),
    /// Over all heads together.
    Projection(NormSpec),
    /// Mean and variance over each head, then separate weights for each head.
    EachHead {
        /// Added to the variance.
        eps: f32,
        /// How the weights are stored.
        weights: HeadWeights,
    },
}

/// How weights that differ by head are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWeights {
    /// `{norm}.weight`, `[heads, head_dim]`.
    Matrix,
    /// `{norm}.norms.{head}.weight`, `[head_dim]` each.
    List,
}

impl AttentionSpec {
    /// Full attention without biases and norms, scaled by `1 / sqrt(head_dim)`, with Llama's names.
    pub fn new(heads: i32, kv_heads: i32, head_dim: i32, rope: RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            value_dim: None,
            bias: AttentionBias::None,
            clip_qkv: None,
            qk_norm: QkNorm::None,
            value_norm: None,
            rope: Some(rope),
            window: None,
            scale: (f64::from(head_dim).powf(-0.5)) as f32,
            softcap: None,
            temperature: None,
            value_scale: None,
            sinks: None,
            gate: None,
            output_norm: None,
            names: AttentionNames::default(),
        }
    }
}

impl AttentionSpec {
    /// Features of a head of values.
    pub(super) fn value_dim(&self) -> i32 {
        self.value_dim.unwrap_or(self.head_dim)
    }
}
