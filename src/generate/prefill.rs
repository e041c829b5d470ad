//! Prefill: prompts, chunk by chunk.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::request::Request;
use super::sequence::{Emit, Reuse, Sequence};
use crate::array::{self, Array, memory};
use crate::cache::{Cache, CacheOptions};
use crate::error::Result;
use crate::models::{Inputs, LanguageModel, Output};

/// Work that shares a thread with a prompt, and cannot wait until a chunk of it is processed.
pub trait Others {
    /// Whether there is any.
    fn are_waiting(&self) -> bool;

    /// Does some of it, if it is time.
    fn go_on(&mut self);
}

/// Processes tokens, `[1, length]`, and lets others go on after each layer. Returns also how long they took.
pub fn forward_beside(
    network: &dyn LanguageModel,
    tokens: Array,
    cache: &mut Cache,
    others: &mut dyn Others,
) -> Result<(Output, Duration)> {
    let mut elsewhere = Duration::ZERO;
    let output = network.forward_between(&Inputs::tokens(tokens), cache, &mut |hidden| {
        if others.are_waiting() {
            array::eval([hidden])?;
            let paused = Instant::now();
            others.go_on();
            elsewhere += paused.elapsed();
        }
        Ok(())
    })?;
    Ok((output, elsewhere))
}

/// None.
#[cfg(test)]
impl Others for () {
    fn are_waiting(&self) -> bool {
        false
    }

    fn go_on(&mut self) {}
}

/// A prompt that is being processed. Lives on the thread of its model.
pub struct Prefill {
    network: Rc<dyn LanguageModel>,
    /// The cache after the processed tokens.
    pub cache: Cache,
    /// The sequence whose prompt this is.
    pub sequence: Sequence,
    step: usize,
}

impl Prefill {
    /// Begins with an empty cache.
    pub fn new(network: Rc<dyn LanguageModel>, request: Request) -> Result<Prefill> {
        let default_step = network.prefill_step(array::device()) as usize;
        let mut sequence = Sequence::new(request);
        if network.depends_on_chunks() {
            sequence.propose_nothing();
        }
        let cache = network.new_cache(sequence.cache_options())?;
        Ok(Prefill { network, cache, step: sequence.prefill_step().unwrap_or(default_step), sequence })
    }

    /// Positions per chunk.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether results depend on chunks, beyond rounding.
    pub fn depends_on_chunks(&self) -> bool {
        self.network.depends_on_chunks() || *self.sequence.cache_options() != CacheOptions::default()
    }

    /// Continues from the state after the first tokens of the prompt, instead of an empty one.
    pub fn resume(&mut self, cache: Cache, reuse: Reuse) {
        self.cache = cache;
        self.sequence.reuse(reuse);
    }

    /// Processes one chunk, or less if the position `until` comes first, and lets others go on after each layer. Returns
    /// true when only the last token is left, with which decoding begins.
    pub fn advance(&mut self, until: Option<usize>, others: &mut dyn Others, emit: Emit) -> Result<bool> {
        let (begun, mut elsewhere) = (Instant::now(), Duration::ZERO);
        let left = self.sequence.unprocessed();
        let most = until.map_or(usize::MAX, |until| until - self.sequence.processed());
        let chunk = &left[..left.len().min(self.step).min(most)];
        if !chunk.is_empty() {
            let n = chunk.len();
            let tokens = Array::from_slice(chunk, &[1, n as i32])?;
            (_, elsewhere) = forward_beside(&*self.network, tokens, &mut self.cache, others)?;
            array::eval(self.cache.arrays())?;
            self.cache.settle()?;
            memory::clear_cache();
            self.sequence.advance(n, emit);
        }
        let done = self.sequence.unprocessed().is_empty();
        self.sequence.worked(begun.elapsed() - elsewhere, done);
        Ok(done)
    }
}
