//! The smallest language model, for tests: what follows a token is in a table.

use super::{Between, Content, Inputs, LanguageModel, Output};
use crate::array::{Array, Device};
use crate::cache::{Cache, CacheOptions};
use crate::error::{Error, Result};

/// Tokens of a prompt that are processed at once.
pub const PREFILL_STEP: i32 = 16;

/// Remembers nothing but positions: the logits after a token are its row, `[vocabulary, vocabulary]`.
pub struct Table(pub Array);

impl LanguageModel for Table {
    fn forward_between(&self, inputs: &Inputs, cache: &mut Cache, between: Between) -> Result<Output> {
        let Content::Tokens(tokens) = &inputs.content else { return Err(Error::unsupported("embeddings")) };
        cache.advance(tokens.dim(-1));
        let hidden = self.embed(tokens)?;
        between(&hidden)?;
        Ok(Output { hidden, taps: Vec::new() })
    }

    fn embed(&self, tokens: &Array) -> Result<Array> {
        self.0.take(tokens, 0)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        Ok(hidden.clone())
    }

    fn new_cache(&self, options: &CacheOptions) -> Result<Cache> {
        Cache::new([], options)
    }

    fn vocab_size(&self) -> i32 {
        self.0.dim(0)
    }

    fn context_length(&self) -> Option<i32> {
        None
    }

    fn prefill_step(&self, _: Device) -> i32 {
        PREFILL_STEP
    }
}
