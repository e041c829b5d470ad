//! Logits of given tokens, and what is made of them: nothing, for tests and research, or scores.
//!
//! Tokens are processed as prompts are, chunk by chunk; of each chunk only the logits that are asked for are computed, a few
//! rows at a time.

use std::sync::Arc;

use super::{Control, Job, Model, Observer, Reporter, Step, Task, Worker};
use crate::array::{self, Array, Dtype, memory};
use crate::cache::{Cache, CacheOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::generate::sampling::score;
use crate::generate::{check_tokens, forward_beside};

/// Values that fit comfortably in memory.
const MAX_VALUES: usize = 1 << 28;

/// Values that are computed at once, and held in memory at most.
const PIECE_VALUES: usize = 1 << 24;

/// Logits, one row a position.
#[derive(Debug)]
pub struct Logits {
    /// Positions.
    pub rows: usize,
    /// Values a position: the vocabulary.
    pub columns: usize,
    /// `rows * columns` values, row by row.
    pub values: Vec<f32>,
}

/// How likely a continuation is, token by token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// The natural log-probability of each token of the continuation, given everything before it.
    pub logprobs: Vec<f32>,
    /// The token that the model finds most likely in the place of each; of equal ones, the lowest id.
    pub most_likely: Vec<u32>,
}

impl Scores {
    /// The log-probability of the whole continuation.
    pub fn total(&self) -> f64 {
        self.logprobs.iter().map(|&x| f64::from(x)).sum()
    }

    /// The perplexity of the continuation: `exp` of the mean negative log-probability of its tokens. 1 at best.
    pub fn perplexity(&self) -> f64 {
        (-self.total() / self.logprobs.len() as f64).exp()
    }
}

/// How many tokens are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreEvent {
    /// Tokens processed so far.
    pub processed: usize,
    /// Tokens to process.
    pub total: usize,
}

impl Model {
    /// Starts computing the logits of every position of `tokens`: of the tokens that may follow it.
    ///
    /// # Errors
    /// At once, without a task, if a token is not in the vocabulary or the result would not fit in memory.
    pub fn logits(&self, tokens: Vec<u32>) -> Result<Task<Arc<Logits>>> {
        let positions = (0..tokens.len()).collect();
        self.logits_at(tokens, positions, |_: &ScoreEvent| Control::Continue)
    }

    /// Starts computing the logits of these positions of `tokens`, which are in ascending order. Tokens after the last one
    /// are not processed. `observer` hears of every chunk.
    ///
    /// # Errors
    /// As [`logits`](Self::logits), and if a position is not one of `tokens` or not after the one before.
    pub fn logits_at(
        &self,
        mut tokens: Vec<u32>,
        positions: Vec<usize>,
        observer: impl Observer<ScoreEvent, Arc<Logits>> + 'static,
    ) -> Result<Task<Arc<Logits>>> {
        self.check_usable()?;
        let vocab_size = self.info().vocab_size;
        check_tokens(&tokens, vocab_size)?;
        if !positions.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid_argument("positions are not in ascending order"));
        }
        let last = *positions.last().ok_or_else(|| Error::invalid_argument("there are no positions"))?;
        if last >= tokens.len() {
            return Err(Error::invalid_argument(format!("position {last} of {} tokens", tokens.len())));
        }
        if positions.len().saturating_mul(vocab_size as usize) > MAX_VALUES {
            let rows = positions.len();
            return Err(Error::invalid_argument(format!("{rows} rows of {vocab_size} logits are too many")));
        }
        tokens.truncate(last + 1);
        let logits = Logits { rows: 0, columns: vocab_size as usize, values: Vec::new() };
        Ok(self.sweep("logits", Sweep { tokens, positions, processed: 0, taken: 0 }, logits, observer))
    }

    /// Starts computing how likely `continuation` is after `prompt`: the log-probability of each of its tokens, of the
    /// logits as the model gives them, at temperature 1. Memory stays bounded, whatever the length.
    ///
    /// # Errors
    /// At once, without a task, if one of them is empty, a token is not in the vocabulary, or the two are longer than the
    /// model's context.
    pub fn score(&self, prompt: Vec<u32>, continuation: Vec<u32>) -> Result<Task<Arc<Scores>>> {
        self.score_observed(prompt, continuation, |_: &ScoreEvent| Control::Continue)
    }

    /// [`score`](Self::score); `observer` hears of every chunk.
    ///
    /// # Errors
    /// As there.
    pub fn score_observed(
        &self,
        prompt: Vec<u32>,
        continuation: Vec<u32>,
        observer: impl Observer<ScoreEvent, Arc<Scores>> + 'static,
    ) -> Result<Task<Arc<Scores>>> {
        self.check_usable()?;
        let vocab_size = self.info().vocab_size;
        check_tokens(&prompt, vocab_size)?;
        if continuation.is_empty() {
            return Err(Error::invalid_argument("the continuation has no tokens"));
        }
        check_tokens(&continuation, vocab_size)?;
        let length = prompt.len() + continuation.len();
        if let Some(limit) = self.info().context_length.filter(|&limit| length > limit as usize) {
            let message = format!("prompt and continuation have {length} tokens, the context holds {limit}");
            return Err(Error::new(ErrorKind::ContextFull, message));
        }
        // Each token is scored at the position before it, so the last one need not be processed.
        let positions = (prompt.len() - 1..length - 1).collect();
        let mut tokens = prompt;
        tokens.extend(&continuation[..continuation.len() - 1]);
        let scoring = Scoring { continuation, scores: Scores::default() };
        Ok(self.sweep("a score", Sweep { tokens, positions, processed: 0, taken: 0 }, scoring, observer))
    }

    fn sweep<C: Collect>(
        &self,
        what: &'static str,
        sweep: Sweep,
        collect: C,
        observer: impl Observer<ScoreEvent, Arc<C::Output>> + 'static,
    ) -> Task<Arc<C::Output>> {
        let (reporter, task) = Reporter::new(what, Box::new(observer));
        let model = self.clone();
        self.engine()
            .spawn(move |_| Box::new(SweepJob { model, sweep, cache: None, collect: Some(collect), reporter }));
        task
    }
}

/// Tokens that are processed, and the positions whose logits are wanted.
struct Sweep {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    processed: usize,
    /// How many of the positions were handed over.
    taken: usize,
}

/// What is made of logits.
trait Collect: Send + 'static {
    type Output: Send + Sync;

    /// The logits of the next positions, row by row.
    fn rows(&mut self, logits: &[f32], columns: usize) -> Result<()>;

    fn output(self) -> Self::Output;
}

impl Collect for Logits {
    type Output = Logits;

    fn rows(&mut self, logits: &[f32], columns: usize) -> Result<()> {
        self.rows += logits.len() / columns;
        self.columns = columns;
        self.values.extend_from_slice(logits);
        Ok(())
    }

    fn output(self) -> Logits {
        self
    }
}

struct Scoring {
    continuation: Vec<u32>,
    scores: Scores,
}

impl Collect for Scoring {
    type Output = Scores;

    fn rows(&mut self, logits: &[f32], columns: usize) -> Result<()> {
        let at = self.scores.logprobs.len();
        for (row, &token) in logits.chunks_exact(columns).zip(&self.continuation[at..]) {
            let (logprob, best) = score(row, token)?;
            self.scores.logprobs.push(logprob);
            self.scores.most_likely.push(best);
        }
        Ok(())
    }

    fn output(self) -> Scores {
        self.scores
    }
}

struct SweepJob<C: Collect> {
    model: Model,
    sweep: Sweep,
    cache: Option<Cache>,
    /// Until it is over.
    collect: Option<C>,
    reporter: Reporter<ScoreEvent, Arc<C::Output>>,
}

impl<C: Collect> SweepJob<C> {
    /// Processes a chunk. Returns the output once there is no more.
    fn advance(&mut self, worker: &mut Worker) -> Result<Option<C::Output>> {
        if self.reporter.is_cancelled() {
            return Err(Error::cancelled());
        }
        let Some(collect) = &mut self.collect else { return Err(Error::internal("logits after the last ones")) };
        worker.relieve();
        let network = worker.model(self.model.id())?;
        let cache = match &mut self.cache {
            Some(cache) => cache,
            none => none.insert(network.new_cache(&CacheOptions::default())?),
        };
        let Sweep { tokens, positions, processed, taken } = &mut self.sweep;
        let step = network.prefill_step(array::device()).max(1) as usize;
        let chunk = &tokens[*processed..(*processed + step).min(tokens.len())];
        let input = Array::from_slice(chunk, &[1, chunk.len() as i32])?;
        let hidden = forward_beside(&*network, input, cache, worker.others())?.0.hidden;
        array::eval(cache.arrays())?;
        cache.settle()?;
        let end = *processed + chunk.len();
        let wanted = positions[*taken..].partition_point(|&position| position < end);
        let rows = (PIECE_VALUES / network.vocab_size().max(1) as usize).max(1);
        for piece in positions[*taken..*taken + wanted].chunks(rows) {
            let at: Vec<u32> = piece.iter().map(|&position| (position - *processed) as u32).collect();
            let logits = network.logits(&hidden.take(&Array::from_slice(&at, &[at.len() as i32])?, 1)?)?;
            let columns = logits.dim(-1) as usize;
            logits.astype(Dtype::F32)?.read(|values: &[f32]| collect.rows(values, columns))??;
        }
        *taken += wanted;
        *processed = end;
        memory::clear_cache();
        self.reporter.event(&ScoreEvent { processed: end, total: tokens.len() });
        match end == tokens.len() {
            true => Ok(self.collect.take().map(C::output)),
            false => Ok(None),
        }
    }

    /// Frees the cache first: whoever waits may look at memory at once.
    fn end(&mut self, result: Result<C::Output>) -> Step {
        self.cache = None;
        self.reporter.done(result.map(Arc::new));
        Step::Done
    }
}

impl<C: Collect> Job for SweepJob<C> {
    fn step(&mut self, worker: &mut Worker) -> Step {
        match self.advance(worker) {
            Ok(None) => Step::Again,
            Ok(Some(output)) => self.end(Ok(output)),
            Err(error) => self.end(Err(error)),
        }
    }

    fn panicked(&mut self, error: Error) {
        self.model.poison();
        self.end(Err(error));
    }
}
