//! Decoding of sequences whose prompts are processed: those of one model and one kind of cache together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::panic::panic_error;
use super::prefix::{Prefixes, Trail};
use crate::cache::{Cache, CacheOptions, Layout};
use crate::error::{Error, Result};
use crate::generate::{Batch, GenerationEvent, GenerationStats, Next, Sequence, StopReason, Turn};
use crate::models::LanguageModel;

/// Whose generation it is, and who hears of it.
pub(super) trait Owner {
    /// The model's id on this thread.
    fn model(&self) -> u64;

    /// Sequences of this model that are decoded together at most.
    fn max_batch(&self) -> usize;

    fn event(&mut self, event: &GenerationEvent);

    /// Whether nobody wants more of it.
    fn is_cancelled(&self) -> bool;

    /// Reports the end.
    fn end(self: Box<Self>, result: Result<GenerationStats>);

    /// A panic left the model in a state that nobody knows.
    fn poison(&self);
}

/// A sequence that is decoded.
pub(super) struct Stream {
    pub sequence: Sequence,
    pub owner: Box<dyn Owner>,
    /// Where its state goes in the end.
    pub trail: Trail,
}

impl Stream {
    /// Calls what may end this stream, and only this one: a panic in it, perhaps of the observer, leaves the others alone.
    fn guarded(
        &mut self,
        f: impl FnOnce(&mut Sequence, &mut dyn FnMut(&GenerationEvent)) -> Result<Option<GenerationStats>>,
    ) -> Option<Result<GenerationStats>> {
        let Stream { sequence, owner, .. } = self;
        match catch_unwind(AssertUnwindSafe(|| f(sequence, &mut |event| owner.event(event)))) {
            Ok(result) => result.transpose(),
            Err(payload) => {
                let error = panic_error(&*payload);
                log::error!("{error}");
                owner.poison();
                Some(Err(error))
            }
        }
    }

    /// Lets it propose tokens for the next step.
    fn propose(&mut self) -> Option<Result<GenerationStats>> {
        if !self.sequence.proposes() {
            return None;
        }
        self.guarded(|sequence, _| {
            sequence.propose();
            Ok(None)
        })
    }

    /// Takes the tokens that a step says, as far as they hold and until the observer wants no more.
    fn take(&mut self, mut next: Next) -> Option<Result<GenerationStats>> {
        let prompt = |sequence: &mut Sequence, emit: &mut dyn FnMut(&GenerationEvent)| {
            sequence.finish_prompt(emit);
            Ok(None)
        };
        let mut end = self.guarded(prompt);
        while end.is_none() {
            end = self.cancelled().or_else(|| self.guarded(|sequence, emit| sequence.accept(&mut next, emit)));
            if !self.sequence.knows_more() {
                break;
            }
        }
        end
    }

    /// Ends it if it was cancelled.
    fn cancelled(&mut self) -> Option<Result<GenerationStats>> {
        let cancelled = self.owner.is_cancelled();
        let end = |sequence: &mut Sequence, emit: &mut dyn FnMut(&GenerationEvent)| {
            Ok(Some(sequence.end(StopReason::Cancelled, emit)))
        };
        if cancelled { self.guarded(end) } else { None }
    }
}

/// Streams that are decoded together.
pub(super) struct Decoding {
    network: Rc<dyn LanguageModel>,
    batch: Batch,
    /// Those in the batch, in its order.
    streams: Vec<Stream>,
    /// Those that join it with the next step.
    joining: Vec<(Stream, Cache)>,
    model: u64,
    cache: CacheOptions,
    most: usize,
}

impl Decoding {
    /// The first stream of a batch.
    pub fn new(network: Rc<dyn LanguageModel>, stream: Stream, cache: Cache) -> Decoding {
        Decoding {
            batch: Batch::new(network.clone(), Layout::best()),
            network,
            streams: Vec::new(),
            model: stream.owner.model(),
            cache: *stream.sequence.cache_options(),
            most: stream.owner.max_batch(),
            joining: vec![(stream, cache)],
        }
    }

    /// Whether this stream can join.
    pub fn takes(&self, stream: &Stream) -> bool {
        self.model == stream.owner.model()
            && self.cache == *stream.sequence.cache_options()
            && self.streams.len() + self.joining.len() < self.most
    }

    pub fn join(&mut self, stream: Stream, cache: Cache) {
        self.joining.push((stream, cache));
    }

    pub fn is_over(&self) -> bool {
        self.streams.is_empty() && self.joining.is_empty()
    }

    /// The next token of each stream.
    pub fn step(&mut self, prefixes: &mut Prefixes) {
        if let Err(error) = self.try_step(prefixes) {
            self.fail(&error);
        }
    }

    /// The step that all streams share failed: their caches are not to be trusted.
    pub fn fail(&mut self, error: &Error) {
        self.batch = Batch::new(self.network.clone(), Layout::best());
        self.streams.drain(..).for_each(|stream| stream.owner.end(Err(error.clone())));
    }

    /// As [`fail`](Self::fail), after a panic.
    pub fn panicked(&mut self, error: &Error) {
        self.streams.iter().for_each(|stream| stream.owner.poison());
        self.fail(error);
    }

    fn try_step(&mut self, prefixes: &mut Prefixes) -> Result<()> {
        self.admit()?;
        self.leave(prefixes, |stream, _| stream.cancelled())?;
        self.leave(prefixes, |stream, _| stream.propose())?;
        if self.streams.is_empty() {
            return Ok(());
        }
        let draws = self.batch.draws();
        let turns = self.streams.iter_mut().map(|stream| Turn::of(&mut stream.sequence, draws)).collect();
        // Nobody can join while a step is under way.
        let mut step = self.batch.step(turns, self.joining.is_empty())?;
        let mut results: Vec<_> =
            self.streams.iter_mut().zip(step.nexts()).map(|(stream, next)| stream.take(next)).collect();
        for (row, stream) in self.streams.iter_mut().enumerate() {
            self.batch.take_back(row, stream.sequence.surplus())?;
        }
        self.leave(prefixes, |_, row| results[row].take())
    }

    fn admit(&mut self) -> Result<()> {
        if self.batch.is_open() {
            for (stream, cache) in self.joining.drain(..) {
                self.streams.push(stream);
                self.batch.join(cache)?;
            }
        }
        Ok(())
    }

    /// Ends the streams for which there is a result, given them and their rows.
    fn leave(
        &mut self,
        prefixes: &mut Prefixes,
        mut result: impl FnMut(&mut Stream, usize) -> Option<Result<GenerationStats>>,
    ) -> Result<()> {
        for row in (0..self.streams.len()).rev() {
            let Some(result) = result(&mut self.streams[row], row) else { continue };
            let Stream { sequence, owner, trail } = self.streams.remove(row);
            // Frees or keeps the cache first: whoever waits may look at memory, or ask again, at once.
            let left = self.batch.leave(row).map(|cache| {
                if result.is_ok() {
                    prefixes.keep(trail, &sequence.tokens(), cache);
                }
            });
            owner.end(result);
            left?;
        }
        Ok(())
    }
}
