//! Prompts, chunk by chunk.

use std::rc::Rc;

use super::request::Request;
use super::sequence::{Emit, Sequence};
use crate::array::{self, Array, memory};
use crate::cache::Cache;
use crate::error::Result;
use crate::models::{Inputs, LanguageModel};

/// A prompt that is being processed. Lives on the thread of its model.
pub struct Prefill {
    network: Rc<dyn LanguageModel>,
    /// Behind what is processed.
    pub cache: Cache,
    /// Of which this is the prompt.
    pub sequence: Sequence,
    step: usize,
}

impl Prefill {
    /// Begins with an empty cache.
    pub fn new(network: Rc<dyn LanguageModel>, request: Request) -> Result<Prefill> {
        let default_step = network.prefill_step(array::device()) as usize;
        let sequence = Sequence::new(request);
        let cache = network.new_cache(sequence.cache_options())?;
        Ok(Prefill { network, cache, step: sequence.prefill_step().unwrap_or(default_step), sequence })
    }

    /// Processes one chunk. Returns true when nothing is left but the last token, with which decoding begins.
    pub fn advance(&mut self, emit: Emit) -> Result<bool> {
        let left = self.sequence.unprocessed();
        let chunk = &left[..left.len().min(self.step)];
        if !chunk.is_empty() {
            let n = chunk.len();
            let tokens = Array::from_slice(chunk, &[1, n as i32])?;
            self.network.forward(&Inputs::tokens(tokens), &mut self.cache)?;
            array::eval(self.cache.arrays())?;
            self.cache.settle()?;
            memory::clear_cache();
            self.sequence.advance(n, emit);
        }
        Ok(self.sequence.unprocessed().is_empty())
    }
}
