//! Generations as tasks.

use super::decoding::{Owner, Stream};
use super::prefix::Trail;
use super::{Job, Model, Observer, Reporter, Step, Task, Worker};
use crate::error::{Error, Result};
use crate::generate::{
    GenerateOptions, GenerationEvent, GenerationStats, Guides, ModelFacts, Prefill, Request, StopReason,
};

impl Model {
    /// Starts generating after `prompt` (token ids). `observer` hears of prefill and tokens; the task's result is the
    /// statistics, also when it was cancelled.
    ///
    /// # Errors
    /// At once, without a task, if the options or the prompt are invalid.
    pub fn generate(
        &self,
        prompt: Vec<u32>,
        options: GenerateOptions,
        observer: impl Observer<GenerationEvent, GenerationStats> + 'static,
    ) -> Result<Task<GenerationStats>> {
        self.generate_guided(prompt, options, Guides::default(), observer)
    }

    /// [`generate`](Self::generate) with a constraint, or with proposals of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn generate_guided(
        &self,
        prompt: Vec<u32>,
        options: GenerateOptions,
        guides: Guides,
        observer: impl Observer<GenerationEvent, GenerationStats> + 'static,
    ) -> Result<Task<GenerationStats>> {
        self.check_usable()?;
        let facts = ModelFacts {
            vocab_size: self.info().vocab_size,
            context_length: self.info().context_length,
            eos_token_ids: &self.info().eos_token_ids,
            tokenizer: self.tokenizer(),
        };
        let request = Request::new(&facts, prompt, options, guides)?;
        let (reporter, task) = Reporter::new("a generation", Box::new(observer));
        let owner = Some(Box::new(Listener { model: self.clone(), reporter }));
        self.engine().spawn(move |_| Box::new(PrefillJob { owner, state: State::Requested(Box::new(request)) }));
        Ok(task)
    }
}

/// A generation's model and its observer.
struct Listener {
    model: Model,
    reporter: Reporter<GenerationEvent, GenerationStats>,
}

impl Owner for Listener {
    fn model(&self) -> u64 {
        self.model.id()
    }

    fn max_batch(&self) -> usize {
        self.model.engine().max_batch()
    }

    fn event(&mut self, event: &GenerationEvent) {
        self.reporter.event(event);
    }

    fn is_cancelled(&self) -> bool {
        self.reporter.is_cancelled()
    }

    fn end(mut self: Box<Self>, result: Result<GenerationStats>) {
        let name = &self.model.info().name;
        match &result {
            Ok(stats) => log::debug!(
                "{name}: {} tokens after {}, ended by {}",
                stats.generated_tokens,
                stats.prompt_tokens,
                stats.stop_reason.name()
            ),
            Err(error) => log::warn!("{name}: a generation failed: {error}"),
        }
        self.reporter.done(result);
    }

    fn poison(&self) {
        self.model.poison();
    }
}

/// Made in the first step, not before: a panic there has a job that is told of it.
enum State {
    Requested(Box<Request>),
    Running(Box<Prefill>, Trail),
    Over,
}

/// Processes the prompt, then hands the sequence over to be decoded.
struct PrefillJob {
    /// Until it is over.
    owner: Option<Box<Listener>>,
    state: State,
}

impl PrefillJob {
    /// Frees the cache first: whoever waits may look at memory at once.
    fn end(&mut self, result: Result<GenerationStats>) -> Step {
        self.state = State::Over;
        if let Some(owner) = self.owner.take() {
            owner.end(result);
        }
        Step::Done
    }

    /// Ends it before the first token. What was processed of the prompt is kept.
    fn end_early(&mut self, reason: StopReason, worker: &mut Worker) -> Step {
        let (State::Running(prefill, trail), Some(owner)) =
            (std::mem::replace(&mut self.state, State::Over), &mut self.owner)
        else {
            return Step::Done;
        };
        let Prefill { mut sequence, cache, .. } = *prefill;
        let stats = sequence.end(reason, &mut |event| owner.event(event));
        worker.prefixes.keep(trail, sequence.prompt(), cache);
        self.end(Ok(stats))
    }

    fn try_step(&mut self, worker: &mut Worker) -> Result<Step> {
        let Some(owner) = &mut self.owner else { return Ok(Step::Done) };
        let network = worker.model(owner.model())?;
        if let State::Requested(_) = self.state
            && let State::Requested(request) = std::mem::replace(&mut self.state, State::Over)
        {
            let mut prefill = Box::new(Prefill::new(network.clone(), *request)?);
            let trail = worker.prefixes.resume(owner.model(), &mut prefill)?;
            self.state = State::Running(prefill, trail);
        }
        let State::Running(prefill, trail) = &mut self.state else { return Ok(Step::Done) };
        if owner.is_cancelled() {
            return Ok(self.end_early(StopReason::Cancelled, worker));
        }
        worker.prefixes.relieve();
        let until = trail.next(prefill.sequence.processed());
        let done = prefill.advance(until, &mut |event| owner.event(event))?;
        trail.mark(&mut prefill.cache)?;
        if !done {
            return Ok(Step::Again);
        }
        if !prefill.sequence.wants_more(0) {
            return Ok(self.end_early(StopReason::Length, worker));
        }
        if let (State::Running(prefill, trail), Some(owner)) =
            (std::mem::replace(&mut self.state, State::Over), self.owner.take())
        {
            let Prefill { sequence, cache, .. } = *prefill;
            worker.decode(network, Stream { sequence, owner, trail }, cache);
        }
        Ok(Step::Done)
    }
}

impl Job for PrefillJob {
    fn step(&mut self, worker: &mut Worker) -> Step {
        self.try_step(worker).unwrap_or_else(|error| self.end(Err(error)))
    }

    fn panicked(&mut self, error: Error) {
        if let Some(owner) = &self.owner {
            owner.poison();
        }
        self.end(Err(error));
    }
}
