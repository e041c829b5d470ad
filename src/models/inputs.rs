//! Inputs and outputs of a model.

use crate::array::{Array, Dtype};
pub use crate::cache::Visible;
use crate::error::{Error, Result};

/// The inputs of a forward pass. [`Inputs::tokens`] is the usual case.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The input at each position.
    pub content: Content,
    /// Where the positions are.
    pub positions: Positions,
    /// Which positions see which.
    pub visible: Visible,
    /// Layers (from 0) whose hidden states are returned too, see [`Output::taps`].
    pub taps: Vec<usize>,
}

/// The input at each position.
#[derive(Clone, Debug)]
pub enum Content {
    /// Tokens, u32 `[rows, length]`.
    Tokens(Array),
    /// What enters the first layer, `[rows, length, hidden]`: as [`LanguageModel::embed`](super::LanguageModel::embed)
    /// gives it, with the model's embedding scale already applied.
    Embeddings(Array),
    /// The same with the tokens of all positions, for models whose layers read more of a token than its embedding. Where
    /// an embedding is no token's, the padding token is usual.
    Spliced {
        /// u32 `[rows, length]`
        tokens: Array,
        /// `[rows, length, hidden]`
        embeddings: Array,
    },
}

/// Where the positions are.
#[derive(Clone, Debug, Default)]
pub enum Positions {
    /// Consecutive, after those in the cache.
    #[default]
    Sequential,
    /// At these places, i32 `[axes, rows, length]`, none negative; `rows` may be 1 for all. More than one axis is for
    /// rotations in sections (M-RoPE). They say where a position is, not which others it sees.
    Explicit(Array),
}

/// The outputs of a forward pass.
#[derive(Clone, Debug)]
pub struct Output {
    /// The hidden states of the last layer after the final norm, `[rows, length, hidden]`.
    pub hidden: Array,
    /// The hidden states after the requested layers, `[rows, length, hidden]`, in the requested order.
    pub taps: Vec<Array>,
}

impl Inputs {
    /// Tokens, u32 `[rows, length]`, which follow the positions in the cache.
    pub fn tokens(tokens: Array) -> Inputs {
        Inputs::of(Content::Tokens(tokens))
    }

    /// Embeddings, `[rows, length, hidden]`, which follow the positions in the cache.
    pub fn embeddings(embeddings: Array) -> Inputs {
        Inputs::of(Content::Embeddings(embeddings))
    }

    /// Embeddings and the tokens at their positions, which follow the positions in the cache.
    pub fn spliced(tokens: Array, embeddings: Array) -> Inputs {
        Inputs::of(Content::Spliced { tokens, embeddings })
    }

    fn of(content: Content) -> Inputs {
        Inputs { content, positions: Positions::default(), visible: Visible::default(), taps: Vec::new() }
    }

    /// At these places, i32 `[axes, rows, length]`.
    pub fn at(self, positions: Array) -> Inputs {
        Inputs { positions: Positions::Explicit(positions), ..self }
    }

    /// With other than causal visibility.
    pub fn seeing(self, visible: Visible) -> Inputs {
        Inputs { visible, ..self }
    }

    /// With the hidden states of these layers.
    pub fn tapping(self, taps: Vec<usize>) -> Inputs {
        Inputs { taps, ..self }
    }

    /// Rows and length.
    ///
    /// # Errors
    /// `InvalidArgument` if the parts do not fit each other, or a model of so many layers and features.
    pub fn check(&self, hidden_size: i32, layers: usize) -> Result<(i32, i32)> {
        let bad = |what: String| Err(Error::invalid_argument(what));
        let (rows, length) = match &self.content {
            Content::Tokens(tokens) => match *tokens.shape() {
                [rows, length] => (rows, length),
                _ => return bad(format!("tokens are [rows, length], not {tokens:?}")),
            },
            Content::Spliced { tokens, embeddings }
                if tokens.shape() != &embeddings.shape()[..embeddings.ndim().min(2)] =>
            {
                return bad(format!("tokens {tokens:?} for embeddings {embeddings:?}"));
            }
            Content::Embeddings(embeddings) | Content::Spliced { embeddings, .. } => match *embeddings.shape() {
                [rows, length, features] if features == hidden_size => (rows, length),
                _ => return bad(format!("embeddings are [rows, length, {hidden_size}], not {embeddings:?}")),
            },
        };
        if rows < 1 || length < 1 {
            return bad(format!("{rows} rows of {length} positions"));
        }
        if let Positions::Explicit(places) = &self.positions {
            let fit = match *places.shape() {
                [axes, r, n] => axes >= 1 && (r == rows || r == 1) && n == length && places.dtype() == Dtype::I32,
                _ => false,
            };
            if !fit {
                return bad(format!("positions are i32 [axes, {rows}, {length}], not {places:?}"));
            }
        }
        if let Visible::Spans(spans) = &self.visible
            && spans.len() != 1
            && spans.len() != rows as usize
        {
            return bad(format!("spans of {} sequences for {rows}", spans.len()));
        }
        match self.taps.iter().find(|layer| **layer >= layers) {
            Some(layer) => bad(format!("layer {layer} is tapped, there are {layers}")),
            None => Ok((rows, length)),
        }
    }
}
