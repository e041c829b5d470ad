//! The operands of attention: queries, keys and values, and which keys a query sees.

use crate::floats::Floats;
use crate::level::Level;
use crate::matrix::Matrix;
use crate::norm::NormParams;
use crate::rope::Rotation;

/// Attention of some new positions.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Sequences.
    pub batch: usize,
    /// New positions of each.
    pub length: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Features of a head of queries and keys.
    pub key_dim: usize,
    /// Features of a head of values.
    pub value_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// A further score of each query head, which takes part in its softmax and weighs no value.
    pub sinks: Option<&'a [f32]>,
    /// Normalisation of each query head.
    pub norm: Option<NormParams<'a>>,
    /// Rotation of queries; the first one is at `offset`.
    pub rotation: Option<&'a Rotation>,
    /// The position of the first query.
    pub offset: usize,
    /// Which keys a query sees.
    pub visible: Visible<'a>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug)]
pub enum Visible<'a> {
    /// All.
    All,
    /// Those at or before it, the last query seeing the last key; with a window only so many of the latest.
    Causal(Option<usize>),
    /// Those where this is true, `[length, keys]`.
    Mask(&'a [bool]),
}

/// Keys or values of all positions.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// Numbers; strides of sequences, heads and positions.
    Plain(Floats<'a>, [usize; 3]),
    /// One quantized row a head and position, in the order `[batch, kv heads, capacity]`, and the capacity.
    Quantized(Matrix<'a>, usize),
}

impl<'a> Keys<'a> {
    /// Positions `from..from + n` of one head as f32.
    pub(super) fn read(
        &self,
        level: Level,
        a: &Attention<'_>,
        b: usize,
        head: usize,
        from: usize,
        n: usize,
        dim: usize,
        out: &mut [f32],
    ) {
        for (i, row) in out.chunks_exact_mut(dim).take(n).enumerate() {
            match self {
                Keys::Plain(values, [sb, sh, sp]) => {
                    values.slice(b * sb + head * sh + (from + i) * sp, dim).read(level, row);
                }
                Keys::Quantized(matrix, capacity) => {
                    matrix.row(level, (b * a.kv_heads + head) * capacity + from + i, row);
                }
            }
        }
    }
}

/// Attention and its operands.
#[derive(Clone, Copy, Debug)]
pub struct Over<'a> {
    /// Shapes, scale, and which keys are seen.
    pub attention: Attention<'a>,
    /// Queries; strides of sequences, positions and heads.
    pub queries: (Floats<'a>, [usize; 3]),
    /// Keys.
    pub keys: Keys<'a>,
    /// Values.
    pub values: Keys<'a>,
    /// How many there are.
    pub count: usize,
}
