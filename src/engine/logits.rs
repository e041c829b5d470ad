//! The logits of whole sequences, for tests and for scoring.

use std::sync::Arc;

use super::{Control, Job, Model, Reporter, Step, Task, Worker};
use crate::array::{Array, Dtype};
use crate::cache::CacheOptions;
use crate::error::{Error, Result};
use crate::generate::check_tokens;
use crate::models::Inputs;

/// Values that fit comfortably in memory.
const MAX_VALUES: usize = 1 << 28;

/// Logits, one row a token.
#[derive(Debug)]
pub struct Logits {
    /// Tokens.
    pub rows: usize,
    /// Values a token.
    pub columns: usize,
    /// `rows * columns` values, row by row.
    pub values: Vec<f32>,
}

struct LogitsJob {
    model: Model,
    tokens: Vec<u32>,
    reporter: Reporter<(), Arc<Logits>>,
}

impl Model {
    /// Starts computing the logits of every position of `tokens`.
    ///
    /// # Errors
    /// At once, without a task, if a token is not in the vocabulary or the result would not fit in memory.
    pub fn logits(&self, tokens: Vec<u32>) -> Result<Task<Arc<Logits>>> {
        self.check_usable()?;
        let vocab_size = self.info().vocab_size;
        check_tokens(&tokens, vocab_size)?;
        if tokens.len() * vocab_size as usize > MAX_VALUES {
            return Err(Error::invalid_argument(format!("{} rows of {vocab_size} logits are too many", tokens.len())));
        }
        let (reporter, task) = Reporter::new("logits", Box::new(|_: &()| Control::Continue));
        let job = LogitsJob { model: self.clone(), tokens, reporter };
        self.engine().spawn(move |_| Box::new(job));
        Ok(task)
    }
}

impl LogitsJob {
    fn compute(&self, worker: &Worker) -> Result<Arc<Logits>> {
        let network = worker.model(self.model.id())?;
        let mut cache = network.new_cache(&CacheOptions::default())?;
        let tokens = Array::from_slice(&self.tokens, &[1, self.tokens.len() as i32])?;
        let logits = network.logits(&network.forward(&Inputs::tokens(tokens), &mut cache)?.hidden)?;
        let columns = logits.dim(-1) as usize;
        let values = logits.astype(Dtype::F32)?.to_vec()?;
        Ok(Arc::new(Logits { rows: self.tokens.len(), columns, values }))
    }
}

impl Job for LogitsJob {
    fn step(&mut self, worker: &mut Worker) -> Step {
        let result = match self.reporter.is_cancelled() {
            true => Err(Error::cancelled()),
            false => self.compute(worker),
        };
        self.reporter.done(result);
        Step::Done
    }

    fn panicked(&mut self, error: Error) {
        self.model.poison();
        self.reporter.done(Err(error));
    }
}
