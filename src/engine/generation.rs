//! Generations as tasks.

use super::{Job, Model, Observer, Reporter, Step, Task, Worker};
use crate::error::{Error, Result};
use crate::generate::{GenerateOptions, Generation, GenerationEvent, GenerationStats, ModelFacts, Request};

impl Model {
    /// Starts generating behind `prompt` (token ids). `observer` hears of prefill and tokens; the task's result is the
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
        self.check_poison()?;
        let facts = ModelFacts {
            vocab_size: self.info().vocab_size,
            context_length: self.info().context_length,
            eos_token_ids: &self.info().eos_token_ids,
            tokenizer: self.tokenizer(),
        };
        let request = Request::new(&facts, prompt, options)?;
        let (reporter, task) = Reporter::new(Box::new(observer));
        let model = self.clone();
        self.engine()
            .spawn(move |_| Box::new(GenerateJob { model, state: State::Requested(Box::new(request)), reporter }));
        Ok(task)
    }
}

/// Made in the first step, not before: a panic there has a job that is told of it.
enum State {
    Requested(Box<Request>),
    Running(Box<Generation>),
    Over,
}

struct GenerateJob {
    model: Model,
    state: State,
    reporter: Reporter<GenerationEvent, GenerationStats>,
}

impl GenerateJob {
    /// Frees the cache first: whoever waits may look at memory at once.
    fn end(&mut self, result: Result<GenerationStats>) -> Step {
        self.state = State::Over;
        match &result {
            Ok(stats) => log::debug!(
                "{}: {} tokens behind {}, ended by {}",
                self.model.info().name,
                stats.generated_tokens,
                stats.prompt_tokens,
                stats.stop_reason.name()
            ),
            Err(error) => log::warn!("{}: a generation failed: {error}", self.model.info().name),
        }
        self.reporter.done(result);
        Step::Done
    }
}

impl Job for GenerateJob {
    fn step(&mut self, worker: &mut Worker) -> Step {
        if let State::Requested(_) = self.state
            && let State::Requested(request) = std::mem::replace(&mut self.state, State::Over)
        {
            let made = worker.model(self.model.id()).and_then(|network| Generation::new(network, *request));
            match made {
                Ok(generation) => self.state = State::Running(Box::new(generation)),
                Err(error) => return self.end(Err(error)),
            }
        }
        let State::Running(generation) = &mut self.state else { return Step::Done };
        let cancelled = self.reporter.is_cancelled();
        match generation.advance(cancelled, &mut |event| self.reporter.event(event)) {
            Ok(None) => Step::Again,
            Ok(Some(stats)) => self.end(Ok(stats)),
            Err(error) => self.end(Err(error)),
        }
    }

    fn panicked(&mut self, error: Error) {
        self.model.poison();
        self.end(Err(error));
    }
}
