//! Decoding of sequences whose prompts are processed: those of one model and one kind of cache together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::{Model, Reporter, panic_error};
use crate::cache::{Cache, CacheOptions, Layout};
use crate::error::{Error, Result};
use crate::generate::{Batch, GenerationEvent, GenerationStats, Next, Sequence, StopReason};
use crate::models::LanguageModel;

/// Who hears of a generation.
pub(super) struct Listener {
    pub model: Model,
    pub reporter: Reporter<GenerationEvent, GenerationStats>,
}

impl Listener {
    /// Says how it ended.
    pub fn end(mut self, result: Result<GenerationStats>) {
        let name = &self.model.info().name;
        match &result {
            Ok(stats) => log::debug!(
                "{name}: {} tokens behind {}, ended by {}",
                stats.generated_tokens,
                stats.prompt_tokens,
                stats.stop_reason.name()
            ),
            Err(error) => log::warn!("{name}: a generation failed: {error}"),
        }
        self.reporter.done(result);
    }
}

/// A sequence that is decoded, and who hears of it.
pub(super) struct Stream {
    pub sequence: Sequence,
    pub listener: Listener,
}

impl Stream {
    /// Calls what may end this stream, and only this one: a panic in it, perhaps of the observer, leaves the others alone.
    fn guarded(
        &mut self,
        f: impl FnOnce(&mut Sequence, &mut dyn FnMut(&GenerationEvent)) -> Result<Option<GenerationStats>>,
    ) -> Option<Result<GenerationStats>> {
        let Stream { sequence, listener } = self;
        let reporter = &mut listener.reporter;
        match catch_unwind(AssertUnwindSafe(|| f(sequence, &mut |event| reporter.event(event)))) {
            Ok(result) => result.transpose(),
            Err(payload) => {
                let error = panic_error(&*payload);
                log::error!("{error}");
                listener.model.poison();
                Some(Err(error))
            }
        }
    }

    /// Takes the next token, unless the observer of what came before wants none.
    fn take(&mut self, next: Next) -> Option<Result<GenerationStats>> {
        let prompt = |sequence: &mut Sequence, emit: &mut dyn FnMut(&GenerationEvent)| {
            sequence.finish_prompt(emit);
            Ok(None)
        };
        self.guarded(prompt)
            .or_else(|| self.cancelled())
            .or_else(|| self.guarded(|sequence, emit| sequence.accept(next, emit)))
    }

    /// Ends it if it was cancelled.
    fn cancelled(&mut self) -> Option<Result<GenerationStats>> {
        let cancelled = self.listener.reporter.is_cancelled();
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
        let model = &stream.listener.model;
        Decoding {
            batch: Batch::new(network.clone(), Layout::best()),
            network,
            streams: Vec::new(),
            model: model.id(),
            cache: *stream.sequence.cache_options(),
            most: model.engine().max_batch(),
            joining: vec![(stream, cache)],
        }
    }

    /// Whether this stream can join.
    pub fn takes(&self, stream: &Stream) -> bool {
        self.model == stream.listener.model.id()
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
    pub fn step(&mut self) {
        if let Err(error) = self.try_step() {
            self.fail(&error);
        }
    }

    /// The step that all streams share failed: their caches are not to be trusted.
    pub fn fail(&mut self, error: &Error) {
        self.batch = Batch::new(self.network.clone(), Layout::best());
        self.streams.drain(..).for_each(|stream| stream.listener.end(Err(error.clone())));
    }

    /// As [`fail`](Self::fail), after a panic.
    pub fn panicked(&mut self, error: &Error) {
        self.streams.iter().for_each(|stream| stream.listener.model.poison());
        self.fail(error);
    }

    fn try_step(&mut self) -> Result<()> {
        self.admit()?;
        self.leave(|stream, _| stream.cancelled())?;
        if self.streams.is_empty() {
            return Ok(());
        }
        let mut sequences: Vec<&mut Sequence> = self.streams.iter_mut().map(|s| &mut s.sequence).collect();
        // Nobody can join while a step is under way.
        let mut step = self.batch.step(&mut sequences, self.joining.is_empty())?;
        let mut results: Vec<_> =
            self.streams.iter_mut().zip(step.nexts()).map(|(stream, next)| stream.take(next)).collect();
        self.leave(|_, row| results[row].take())
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
    fn leave(&mut self, mut result: impl FnMut(&mut Stream, usize) -> Option<Result<GenerationStats>>) -> Result<()> {
        for row in (0..self.streams.len()).rev() {
            let Some(result) = result(&mut self.streams[row], row) else { continue };
            let stream = self.streams.remove(row);
            // Frees the cache first: whoever waits may look at memory at once.
            let left = self.batch.leave(row);
            stream.listener.end(result);
            left?;
        }
        Ok(())
    }
}
