//! From a prompt to a stream of tokens.
#![forbid(unsafe_code)]

mod job;
mod logits;
mod options;
pub mod sampling;
mod stop;

pub use logits::Logits;
pub use options::{GenerateOptions, GenerationEvent, GenerationStats, StopReason, TokenInfo};

use crate::engine::{Model, Observer, Reporter, Task};
use crate::error::Result;
use job::GenerateJob;

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
        let prepared = job::Prepared::new(self, prompt, options)?;
        let (reporter, task) = Reporter::new(Box::new(observer));
        let model = self.clone();
        self.engine().spawn(move |worker| GenerateJob::start(worker, model, prepared, reporter));
        Ok(task)
    }

    /// Starts computing the logits of every position of `tokens`.
    ///
    /// # Errors
    /// At once, without a task, if a token is not in the vocabulary or the result would not fit in memory.
    pub fn logits(&self, tokens: Vec<u32>) -> Result<Task<std::sync::Arc<Logits>>> {
        self.check_poison()?;
        logits::start(self, tokens)
    }
}
