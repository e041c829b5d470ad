//! A generation on the engine's thread.

use std::rc::Rc;
use std::time::Instant;

use super::options::{GenerateOptions, GenerationEvent, GenerationStats, StopReason, TokenInfo};
use super::sampling::{Sampled, Sampler, TokenSets, resolve_breakers};
use super::stop::StopMatcher;
use crate::array::{self, Array, Device, Dtype, memory};
use crate::cache::Cache;
use crate::engine::{Job, Model, Reporter, Step, Worker};
use crate::error::{Error, ErrorKind, Result};
use crate::models::LanguageModel;
use crate::tokenizer::{StreamingDetokenizer, Tokenizer};

/// What a generation needs that can be made and checked on the caller's thread.
pub(super) struct Prepared {
    prompt: Vec<u32>,
    options: GenerateOptions,
    sampler: Sampler,
    eos: Vec<u32>,
    /// Positions at most.
    limit: usize,
}

impl Prepared {
    pub fn new(model: &Model, prompt: Vec<u32>, options: GenerateOptions) -> Result<Prepared> {
        let info = model.info();
        check_tokens(&prompt, info.vocab_size)?;
        let limit = match (options.max_context, info.context_length) {
            (Some(n), _) if n < 1 => return Err(Error::invalid_argument(format!("max_context is {n}"))),
            (asked, made_for) => asked.or(made_for).unwrap_or(i32::MAX),
        };
        if prompt.len() > limit as usize {
            return Err(Error::new(
                ErrorKind::ContextFull,
                format!("the prompt has {} tokens, the context holds {limit}", prompt.len()),
            ));
        }
        if options.prefill_step.is_some_and(|n| n < 1) {
            return Err(Error::invalid_argument("prefill_step must be at least 1"));
        }
        let mut eos = info.eos_token_ids.clone();
        eos.extend(&options.extra_eos);
        let sets = token_sets(model.tokenizer(), &options, &eos)?;
        let sampler = Sampler::new(&options.sampling, info.vocab_size as usize, &sets)?;
        if options.ignore_eos {
            eos.clear();
        }
        Ok(Prepared { prompt, options, sampler, eos, limit: limit as usize })
    }
}

/// Refuses an empty prompt and tokens that the model does not have: MLX would read beyond the embedding.
pub(super) fn check_tokens(tokens: &[u32], vocab_size: i32) -> Result<()> {
    if tokens.is_empty() {
        return Err(Error::invalid_argument("the prompt has no tokens"));
    }
    match tokens.iter().find(|&&t| t >= vocab_size as u32) {
        Some(token) => {
            Err(Error::invalid_argument(format!("token {token} is not in the model's vocabulary of {vocab_size}")))
        }
        None => Ok(()),
    }
}

/// Token ids that samplers treat in special ways: XTC never drops the end and the line break (as in mlx-lm 0.32.2),
/// DRY does not look beyond its breakers.
fn token_sets(tokenizer: Option<&Tokenizer>, options: &GenerateOptions, eos: &[u32]) -> Result<TokenSets> {
    let mut sets = TokenSets::default();
    let Some(tokenizer) = tokenizer else { return Ok(sets) };
    if options.sampling.xtc_probability > 0.0 {
        sets.xtc_excluded = eos.to_vec();
        sets.xtc_excluded.extend(tokenizer.encode("\n", false)?);
    }
    if let Some(dry) = &options.sampling.dry {
        let texts: Vec<(u32, Vec<u8>)> =
            (0..tokenizer.vocab_size() as u32).filter_map(|id| Some((id, tokenizer.token_bytes(id)?))).collect();
        sets.dry_breakers =
            resolve_breakers(&dry.sequence_breakers, texts.iter().map(|(id, t)| (*id, t.as_slice())), |text| {
                tokenizer.encode(text, false)
            })?;
    }
    Ok(sets)
}

pub(super) struct GenerateJob {
    model: Model,
    network: Rc<dyn LanguageModel>,
    cache: Cache,
    prepared: Prepared,
    /// Prompt and answer.
    history: Vec<u32>,
    /// How many tokens of the prompt are processed.
    processed: usize,
    prefill_step: usize,
    next: Next,
    detokenizer: Option<StreamingDetokenizer>,
    stops: StopMatcher,
    scratch: Vec<f32>,
    reporter: Reporter<GenerationEvent, GenerationStats>,
    clock: Clock,
}

/// The token to process next.
enum Next {
    /// The prompt is not processed yet.
    Prefill,
    /// Chosen on the device and being computed; already scheduled before the one before it was read.
    Device(Array),
    /// Chosen on the host.
    Host(u32),
}

struct Clock {
    started: Instant,
    prompt_done: Option<Instant>,
    first_token: Option<Instant>,
}

impl GenerateJob {
    /// Called on the engine's thread.
    pub fn start(
        worker: &mut Worker,
        model: Model,
        prepared: Prepared,
        mut reporter: Reporter<GenerationEvent, GenerationStats>,
    ) -> Box<dyn Job> {
        let made = worker.model(model.id()).and_then(|network| {
            let cache = network.new_cache(&prepared.options.cache)?;
            Ok((network, cache))
        });
        let (network, cache) = match made {
            Ok(made) => made,
            Err(error) => {
                reporter.done(Err(error));
                return Box::new(Ended);
            }
        };
        let default_step = match array::device() {
            Device::Cpu => 128,
            Device::Gpu => 512,
        };
        Box::new(GenerateJob {
            network,
            cache,
            history: prepared.prompt.clone(),
            processed: 0,
            prefill_step: prepared.options.prefill_step.unwrap_or(default_step) as usize,
            next: Next::Prefill,
            detokenizer: model.tokenizer().map(StreamingDetokenizer::new),
            stops: StopMatcher::new(&prepared.options.stop),
            scratch: Vec::new(),
            reporter,
            clock: Clock { started: Instant::now(), prompt_done: None, first_token: None },
            prepared,
            model,
        })
    }

    fn advance(&mut self) -> Result<Step> {
        if self.reporter.is_cancelled() {
            return self.end(StopReason::Cancelled);
        }
        match std::mem::replace(&mut self.next, Next::Prefill) {
            Next::Prefill => self.prefill(),
            Next::Device(token) => {
                let wanted = self.wants_more(1);
                // The next step is under way before this token is read back.
                if wanted {
                    self.next = Next::Device(self.schedule(&token)?);
                }
                let id = token.item_u32()?;
                self.accept(TokenInfo { id, ..Default::default() })
            }
            Next::Host(token) => {
                let token = Array::from_slice(&[token], &[1])?;
                let sampled = self.sample(&token)?;
                self.next = Next::Host(sampled.token);
                let wants = self.prepared.sampler.wants_logprobs();
                self.accept(TokenInfo {
                    id: sampled.token,
                    logprob: wants.then_some(sampled.logprob),
                    top: sampled.top,
                })
            }
        }
    }

    /// One chunk of the prompt. Its last token is left for the first decoding step, which needs its logits alone.
    fn prefill(&mut self) -> Result<Step> {
        let total = self.prepared.prompt.len();
        let left = total - 1 - self.processed;
        if left > 0 {
            let n = left.min(self.prefill_step);
            let chunk = &self.prepared.prompt[self.processed..self.processed + n];
            let tokens = Array::from_slice(chunk, &[1, n as i32])?;
            self.network.forward(&tokens, &mut self.cache)?;
            array::eval(self.cache.arrays())?;
            self.cache.settle()?;
            self.processed += n;
            memory::clear_cache();
            self.reporter.event(&GenerationEvent::Prefill { processed: self.processed, total });
            return Ok(Step::Again);
        }
        if self.prepared.options.max_tokens == Some(0) {
            return self.end(StopReason::Length);
        }
        let last = self.prepared.prompt[total - 1];
        self.processed = total;
        if self.prepared.sampler.is_greedy() && !self.prepared.sampler.wants_logprobs() {
            let token = self.schedule(&Array::from_slice(&[last], &[1])?)?;
            token.eval()?;
            self.next = Next::Device(token);
        } else {
            self.next = Next::Host(last);
        }
        self.reporter.event(&GenerationEvent::Prefill { processed: total, total });
        Ok(Step::Again)
    }

    /// The logits behind one more token, `[1, vocabulary]`.
    fn decode(&mut self, token: &Array) -> Result<Array> {
        let hidden = self.network.forward(&token.reshape(&[1, 1])?, &mut self.cache)?;
        let logits = self.network.logits(&hidden)?.squeeze_axis(1)?;
        self.cache.settle()?;
        Ok(logits)
    }

    /// Starts computing the likeliest token behind `token`.
    fn schedule(&mut self, token: &Array) -> Result<Array> {
        let next = self.decode(token)?.argmax(-1, false)?;
        array::async_eval([&next])?;
        Ok(next)
    }

    fn sample(&mut self, token: &Array) -> Result<Sampled> {
        let logits = self.decode(token)?.astype(Dtype::F32)?;
        let scratch = &mut self.scratch;
        logits.read(|values: &[f32]| {
            scratch.clear();
            scratch.extend_from_slice(values);
        })?;
        self.prepared.sampler.sample(scratch, &self.history)
    }

    /// Whether, with `pending` tokens not counted yet, there is room for another.
    fn wants_more(&self, pending: usize) -> bool {
        let generated = self.history.len() - self.prepared.prompt.len() + pending;
        let most = self.prepared.options.max_tokens.map_or(usize::MAX, |n| n as usize);
        generated < most && self.history.len() + pending <= self.prepared.limit
    }

    /// Takes a chosen token into the answer.
    fn accept(&mut self, token: TokenInfo) -> Result<Step> {
        let now = Instant::now();
        self.clock.prompt_done.get_or_insert(now);
        if self.prepared.eos.contains(&token.id) {
            return self.end(StopReason::Eos);
        }
        self.clock.first_token.get_or_insert(now);
        self.history.push(token.id);
        let text = match &mut self.detokenizer {
            Some(detokenizer) => detokenizer.push(token.id)?,
            None => String::new(),
        };
        let (text, stopped) = self.stops.push(&text);
        self.reporter.event(&GenerationEvent::Token { token, text });
        if stopped {
            return self.end(StopReason::StopString);
        }
        let generated = self.history.len() - self.prepared.prompt.len();
        if self.prepared.options.max_tokens.is_some_and(|n| generated >= n as usize) {
            return self.end(StopReason::Length);
        }
        // The token just chosen needs a position before another can follow.
        if self.history.len() > self.prepared.limit {
            return self.end(StopReason::ContextFull);
        }
        Ok(Step::Again)
    }

    fn end(&mut self, reason: StopReason) -> Result<Step> {
        let mut rest = match &mut self.detokenizer {
            Some(detokenizer) if reason != StopReason::StopString => self.stops.push(&detokenizer.finish()?),
            _ => Default::default(),
        };
        let mut reason = reason;
        if rest.1 {
            reason = StopReason::StopString;
        } else if reason != StopReason::StopString {
            rest.0 += &self.stops.finish();
        }
        if !rest.0.is_empty() {
            self.reporter.event(&GenerationEvent::Text { text: rest.0 });
        }
        let stats = self.stats(reason);
        // Whoever waits may look at memory at once.
        self.next = Next::Prefill;
        self.cache.layers.clear();
        self.reporter.done(Ok(stats));
        Ok(Step::Done)
    }

    fn stats(&self, stop_reason: StopReason) -> GenerationStats {
        let now = Instant::now();
        let prompt_end = self.clock.prompt_done.unwrap_or(now);
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let rate = |n: usize, s: f64| if s > 0.0 { n as f64 / s } else { 0.0 };
        let prompt_seconds = seconds(self.clock.started, prompt_end);
        let generation_seconds = seconds(prompt_end, now);
        let generated_tokens = self.history.len() - self.prepared.prompt.len();
        GenerationStats {
            prompt_tokens: self.processed,
            generated_tokens,
            prompt_seconds,
            generation_seconds,
            time_to_first_token: self.clock.first_token.map(|t| seconds(self.clock.started, t)),
            prompt_tokens_per_second: rate(self.processed, prompt_seconds),
            // The first token belongs to the prompt's time.
            generation_tokens_per_second: rate(generated_tokens.saturating_sub(1), generation_seconds),
            peak_memory_bytes: memory::peak(),
            stop_reason,
            seed: self.prepared.sampler.seed(),
        }
    }
}

impl Job for GenerateJob {
    fn step(&mut self, _: &mut Worker) -> Step {
        match self.advance() {
            Ok(step) => step,
            Err(error) => {
                self.reporter.done(Err(error));
                Step::Done
            }
        }
    }

    fn panicked(&mut self, error: Error) {
        self.model.poison();
        self.reporter.done(Err(error));
    }
}

/// A job that could not begin.
struct Ended;

impl Job for Ended {
    fn step(&mut self, _: &mut Worker) -> Step {
        Step::Done
    }

    fn panicked(&mut self, _: Error) {}
}
