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

    /// Bytes of the state of so many positions.
    fn state_bytes(&self, positions: usize, options: &CacheOptions) -> u64;

    fn event(&mut self, event: &GenerationEvent);

    /// Whether nobody wants more of it.
    fn is_cancelled(&self) -> bool;

    /// Reports the end.
    fn end(self: Box<Self>, result: Result<GenerationStats>);

    /// A panic left the model in a state that nobody knows.
    fn poison(&self);
}

/// What a sequence will take that it has not taken yet.
pub(super) fn promised(owner: &dyn Owner, sequence: &Sequence) -> u64 {
    let bytes = |positions| owner.state_bytes(positions, sequence.cache_options());
    bytes(sequence.positions()).saturating_sub(bytes(sequence.position()))
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
            end = self.interrupted().or_else(|| self.guarded(|sequence, emit| sequence.accept(&mut next, emit)));
            if !self.sequence.knows_more() {
                break;
            }
        }
        end
    }

    /// Ends it if it was cancelled, or has taken too long.
    fn interrupted(&mut self) -> Option<Result<GenerationStats>> {
        let reason = match self.owner.is_cancelled() {
            true => StopReason::Cancelled,
            false if self.sequence.is_overdue() => StopReason::Timeout,
            false => return None,
        };
        self.end(reason)
    }

    /// Ends it with what it has.
    fn end(&mut self, reason: StopReason) -> Option<Result<GenerationStats>> {
        self.guarded(|sequence, emit| Ok(Some(sequence.end(reason, emit))))
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
        self.model == stream.owner.model() && self.cache == *stream.sequence.cache_options() && self.count() < self.most
    }

    pub fn join(&mut self, stream: Stream, cache: Cache) {
        self.joining.push((stream, cache));
    }

    /// How many sequences it has.
    pub fn count(&self) -> usize {
        self.streams.len() + self.joining.len()
    }

    /// Bytes that they will take and have not taken yet.
    pub fn promised(&self) -> u64 {
        let streams = self.streams.iter().chain(self.joining.iter().map(|(stream, _)| stream));
        streams.map(|stream| promised(&*stream.owner, &stream.sequence)).sum()
    }

    pub fn is_over(&self) -> bool {
        self.count() == 0
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
        for Stream { sequence, owner, .. } in self.streams.drain(..) {
            drop(sequence);
            owner.end(Err(error.clone()));
        }
    }

    /// Ends all streams if they are of this model.
    pub fn cancel(&mut self, model: u64) {
        if self.model != model {
            return;
        }
        self.batch = Batch::new(self.network.clone(), Layout::best());
        let joining = self.joining.drain(..).map(|(stream, _)| stream);
        for mut stream in self.streams.drain(..).chain(joining) {
            if let Some(end) = stream.end(StopReason::Cancelled) {
                drop(stream.sequence);
                stream.owner.end(end);
            }
        }
    }

    /// As [`fail`](Self::fail), after a panic.
    pub fn panicked(&mut self, error: &Error) {
        self.streams.iter().for_each(|stream| stream.owner.poison());
        self.fail(error);
    }

    fn try_step(&mut self, prefixes: &mut Prefixes) -> Result<()> {
        self.admit()?;
        self.leave(prefixes, |stream, _| stream.interrupted())?;
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
            // Guides belong to the host, which may take back what they use once it is told of the end.
            drop(sequence);
            owner.end(result);
            left?;
        }
        Ok(())
    }
}
