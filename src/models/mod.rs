//! Architectures.
//!
//! Most are data: a file in `llm/` turns `config.json` into a [`decoder::DecoderSpec`], and one generic decoder runs
//! it. docs/adding-a-model.md shows how to add one.
#![forbid(unsafe_code)]

pub mod config;
pub mod decoder;
mod llm;
pub mod registry;

use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions};
use crate::error::Result;

/// A model that continues a sequence of tokens.
pub trait LanguageModel {
    /// Processes `tokens`, u32 `[batch, length]`, which follow what `cache` remembers. Returns the hidden states of the
    /// last layer after its final norm, `[batch, length, hidden]`.
    fn forward(&self, tokens: &Array, cache: &mut Cache) -> Result<Array>;

    /// The logits of hidden states `[.., hidden]`: `[.., vocabulary]`.
    fn logits(&self, hidden: &Array) -> Result<Array>;

    /// An empty cache for one sequence.
    fn new_cache(&self, options: &CacheOptions) -> Result<Cache>;

    /// The number of tokens the output layer knows.
    fn vocab_size(&self) -> i32;

    /// The longest sequence the model was made for, if its configuration says.
    fn context_length(&self) -> Option<i32>;

    /// Positions of a prompt that are processed at once where nobody says how many.
    fn prefill_step(&self, device: Device) -> i32;
}
