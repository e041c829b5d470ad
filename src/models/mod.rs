//! Architectures.
//!
//! Most are data: a file in `llm/` turns `config.json` into a [`decoder::DecoderSpec`], and one generic decoder runs
//! it. Others are written by hand. docs/adding-a-model.md shows how to add one.
#![forbid(unsafe_code)]

mod by_hand;
pub mod config;
pub mod decoder;
mod inputs;
mod llm;
pub mod registry;
pub mod shape;
#[cfg(test)]
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub use inputs::{Content, Inputs, Output, Positions, Visible};

use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions};
use crate::error::Result;

/// What a forward pass calls after each layer.
pub type Between<'a> = &'a mut dyn FnMut(&Array) -> Result<()>;

/// A model that continues a sequence of tokens.
pub trait LanguageModel {
    /// Processes the inputs after the positions in `cache`.
    ///
    /// # Errors
    /// `InvalidArgument` if the inputs do not fit each other or the model, `Unsupported` if the model cannot do what
    /// they ask for.
    fn forward(&self, inputs: &Inputs, cache: &mut Cache) -> Result<Output> {
        self.forward_between(inputs, cache, &mut |_| Ok(()))
    }

    /// [`forward`](Self::forward) that gives way to other work: `between` is called after each layer with its hidden
    /// states, which it may evaluate. The results are the same.
    ///
    /// # Errors
    /// As there, and what `between` fails with; the cache must then not be used again.
    fn forward_between(&self, inputs: &Inputs, cache: &mut Cache, between: Between) -> Result<Output>;

    /// The embeddings of tokens, u32 of any shape: `[.., hidden]`, as they enter the first layer. Image embeddings are
    /// spliced in between them.
    fn embed(&self, tokens: &Array) -> Result<Array>;

    /// The logits of hidden states `[.., hidden]`: `[.., vocabulary]`.
    fn logits(&self, hidden: &Array) -> Result<Array>;

    /// An empty cache for one sequence.
    fn new_cache(&self, options: &CacheOptions) -> Result<Cache>;

    /// The number of tokens in the output layer.
    fn vocab_size(&self) -> i32;

    /// The longest sequence the model was trained for, if its configuration says.
    fn context_length(&self) -> Option<i32>;

    /// The default number of prompt positions per step.
    fn prefill_step(&self, device: Device) -> i32;

    /// Whether a position's result depends on how many are processed at once, beyond rounding.
    fn depends_on_chunks(&self) -> bool {
        false
    }
}

/// A model that turns a sequence of tokens into features, all at once.
pub trait Encoder {
    /// The hidden states of all positions. Nothing is remembered; the inputs say which positions see which.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    fn encode(&self, inputs: &Inputs) -> Result<Output>;

    /// The longest sequence the model was trained for, if its configuration says.
    fn context_length(&self) -> Option<i32>;
}

/// The vision tower of a model: it turns images into the embeddings that are spliced in between those of tokens.
pub trait Tower {
    /// Embeddings, `[positions, hidden]`, image after image.
    fn embed(&self, images: &Images) -> Result<Array>;
}

/// Images as a processor prepares them.
#[derive(Clone, Debug)]
pub struct Images {
    /// What the tower reads: pixels or patches, as its processor lays them out.
    pub pixels: Array,
    /// Frames, rows and columns of patches of each image.
    pub grids: Vec<[i32; 3]>,
}
