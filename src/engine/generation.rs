//! Generations as tasks.

use super::decoding::Owner;
use super::scheduler::Demand;
use super::{Model, Observer, Reporter, Task};
use crate::cache::CacheOptions;
use crate::error::Result;
use crate::generate::{GenerateOptions, GenerationEvent, GenerationStats, Guides, ModelFacts, Request};

impl Model {
    /// Starts generating after `prompt` (token ids). `observer` hears of prefill and tokens; the task's result is the
    /// statistics, also when it was cancelled.
    ///
    /// # Errors
    /// At once, without a task, if the options or the prompt are invalid, or [`ErrorKind::Busy`](crate::ErrorKind::Busy) if
    /// as many generations wait as [`EngineOptions::max_queue`](super::EngineOptions::max_queue) allows.
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
        let place = self.engine().enter_queue()?;
        let (reporter, task) = Reporter::new("a generation", Box::new(observer));
        let owner = Box::new(Listener { model: self.clone(), reporter });
        self.engine().submit(Demand { owner, request: Box::new(request), place });
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

    fn state_bytes(&self, positions: usize, options: &CacheOptions) -> u64 {
        self.model.state_bytes(positions, options)
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
