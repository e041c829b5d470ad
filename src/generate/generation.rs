//! The loop: prompt in, tokens out, one step at a time.

use std::rc::Rc;
use std::time::Instant;

use super::options::{GenerateOptions, GenerationEvent, GenerationStats, StopReason, TokenInfo};
use super::sampling::{Sampled, Sampler, TokenSets, resolve_breakers};
use super::stop::StopMatcher;
use crate::array::{self, Array, Dtype, memory};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::models::LanguageModel;
use crate::tokenizer::{StreamingDetokenizer, Tokenizer};

/// What a generation needs to know of its model.
pub struct ModelFacts<'a> {
    /// Rows of the output layer.
    pub vocab_size: i32,
    /// The longest sequence the model was made for.
    pub context_length: Option<i32>,
    /// Tokens that end an answer.
    pub eos_token_ids: &'a [u32],
    /// The tokenizer, if there is one.
    pub tokenizer: Option<&'a Tokenizer>,
}

/// A request that was checked. Made on the caller's thread, so that mistakes are reported at once.
pub struct Request {
    prompt: Vec<u32>,
    options: GenerateOptions,
    sampler: Sampler,
    eos: Vec<u32>,
    /// Positions at most.
    limit: usize,
    detokenizer: Option<StreamingDetokenizer>,
}

impl Request {
    /// Checks prompt and options against the model.
    pub fn new(model: &ModelFacts, prompt: Vec<u32>, options: GenerateOptions) -> Result<Request> {
        check_tokens(&prompt, model.vocab_size)?;
        let limit = match (options.max_context, model.context_length) {
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
        options.cache.validate()?;
        let mut eos = model.eos_token_ids.to_vec();
        eos.extend(&options.extra_eos);
        let sets = token_sets(model.tokenizer, &options, &eos)?;
        let sampler = Sampler::new(&options.sampling, model.vocab_size as usize, &sets)?;
        if options.ignore_eos {
            eos.clear();
        }
        let detokenizer = model.tokenizer.map(|t| t.detokenizer(true));
        Ok(Request { prompt, options, sampler, eos, limit: limit as usize, detokenizer })
    }
}

/// Refuses an empty prompt and tokens that the model does not have: MLX would read beyond the embedding.
pub fn check_tokens(tokens: &[u32], vocab_size: i32) -> Result<()> {
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
        let texts = (0..tokenizer.vocab_size() as u32)
            .map(|id| Ok((id, tokenizer.decode(&[id], false)?)))
            .collect::<Result<Vec<(u32, String)>>>()?;
        let vocabulary = texts.iter().map(|(id, text)| (*id, text.as_bytes()));
        sets.dry_breakers = resolve_breakers(&dry.sequence_breakers, vocabulary, |text| tokenizer.encode(text, false))?;
    }
    Ok(sets)
}

/// A generation under way. Lives on the thread of its model.
pub struct Generation {
    network: Rc<dyn LanguageModel>,
    cache: Cache,
    request: Request,
    /// Prompt and answer.
    history: Vec<u32>,
    /// How many tokens of the prompt are processed.
    processed: usize,
    prefill_step: usize,
    next: Next,
    stops: StopMatcher,
    scratch: Vec<f32>,
    clock: Clock,
}

/// Where events go.
type Emit<'a> = &'a mut dyn FnMut(&GenerationEvent);

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

impl Generation {
    /// Begins with an empty cache.
    pub fn new(network: Rc<dyn LanguageModel>, request: Request) -> Result<Generation> {
        let default_step = network.prefill_step(array::device());
        Ok(Generation {
            cache: network.new_cache(&request.options.cache)?,
            network,
            history: request.prompt.clone(),
            processed: 0,
            prefill_step: request.options.prefill_step.unwrap_or(default_step) as usize,
            next: Next::Prefill,
            stops: StopMatcher::new(&request.options.stop),
            scratch: Vec::new(),
            clock: Clock { started: Instant::now(), prompt_done: None, first_token: None },
            request,
        })
    }

    /// Does one step: a chunk of the prompt, or a token. Returns the statistics when that was the last.
    pub fn advance(&mut self, cancelled: bool, emit: Emit) -> Result<Option<GenerationStats>> {
        if cancelled {
            return self.end(StopReason::Cancelled, emit);
        }
        match std::mem::replace(&mut self.next, Next::Prefill) {
            Next::Prefill => self.prefill(emit),
            Next::Device(token) => {
                // The next step is under way before this token is read back.
                if self.wants_more(1) {
                    self.next = Next::Device(self.schedule(&token)?);
                }
                let id = token.item_u32()?;
                self.accept(TokenInfo { id, ..Default::default() }, emit)
            }
            Next::Host(token) => {
                let token = Array::from_slice(&[token], &[1])?;
                let sampled = self.sample(&token)?;
                self.next = Next::Host(sampled.token);
                let wants = self.request.sampler.wants_logprobs();
                let logprob = wants.then_some(sampled.logprob);
                self.accept(TokenInfo { id: sampled.token, logprob, top: sampled.top }, emit)
            }
        }
    }

    /// One chunk of the prompt. Its last token is left for the first decoding step, which needs its logits alone.
    fn prefill(&mut self, emit: Emit) -> Result<Option<GenerationStats>> {
        let total = self.request.prompt.len();
        let left = total - 1 - self.processed;
        if left > 0 {
            let n = left.min(self.prefill_step);
            let chunk = &self.request.prompt[self.processed..self.processed + n];
            let tokens = Array::from_slice(chunk, &[1, n as i32])?;
            self.network.forward(&tokens, &mut self.cache)?;
            array::eval(self.cache.arrays())?;
            self.cache.settle()?;
            self.processed += n;
            memory::clear_cache();
            emit(&GenerationEvent::Prefill { processed: self.processed, total });
            return Ok(None);
        }
        if self.request.options.max_tokens == Some(0) {
            return self.end(StopReason::Length, emit);
        }
        let last = self.request.prompt[total - 1];
        self.processed = total;
        if self.request.sampler.is_greedy() && !self.request.sampler.wants_logprobs() {
            let token = self.schedule(&Array::from_slice(&[last], &[1])?)?;
            token.eval()?;
            self.next = Next::Device(token);
        } else {
            self.next = Next::Host(last);
        }
        emit(&GenerationEvent::Prefill { processed: total, total });
        Ok(None)
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
        self.request.sampler.sample(scratch, &self.history)
    }

    /// Whether, with `pending` tokens not counted yet, there is room for another.
    fn wants_more(&self, pending: usize) -> bool {
        let generated = self.history.len() - self.request.prompt.len() + pending;
        let most = self.request.options.max_tokens.map_or(usize::MAX, |n| n as usize);
        generated < most && self.history.len() + pending <= self.request.limit
    }

    /// Takes a chosen token into the answer.
    fn accept(&mut self, token: TokenInfo, emit: Emit) -> Result<Option<GenerationStats>> {
        let now = Instant::now();
        self.clock.prompt_done.get_or_insert(now);
        if self.request.eos.contains(&token.id) {
            return self.end(StopReason::Eos, emit);
        }
        self.clock.first_token.get_or_insert(now);
        self.history.push(token.id);
        let text = match &mut self.request.detokenizer {
            Some(detokenizer) => detokenizer.push(token.id),
            None => String::new(),
        };
        let (text, stopped) = self.stops.push(&text);
        emit(&GenerationEvent::Token { token, text });
        if stopped {
            return self.end(StopReason::StopString, emit);
        }
        let generated = self.history.len() - self.request.prompt.len();
        if self.request.options.max_tokens.is_some_and(|n| generated >= n as usize) {
            return self.end(StopReason::Length, emit);
        }
        // The token just chosen needs a position before another can follow.
        if self.history.len() > self.request.limit {
            return self.end(StopReason::ContextFull, emit);
        }
        Ok(None)
    }

    fn end(&mut self, reason: StopReason, emit: Emit) -> Result<Option<GenerationStats>> {
        let mut rest = match &mut self.request.detokenizer {
            Some(detokenizer) if reason != StopReason::StopString => self.stops.push(&detokenizer.finish()),
            _ => Default::default(),
        };
        let mut reason = reason;
        if rest.1 {
            reason = StopReason::StopString;
        } else if reason != StopReason::StopString {
            rest.0 += &self.stops.finish();
        }
        if !rest.0.is_empty() {
            emit(&GenerationEvent::Text { text: rest.0 });
        }
        let stats = self.stats(reason);
        // Whoever waits may look at memory at once.
        self.next = Next::Prefill;
        self.cache.layers.clear();
        Ok(Some(stats))
    }

    fn stats(&self, stop_reason: StopReason) -> GenerationStats {
        let now = Instant::now();
        let prompt_end = self.clock.prompt_done.unwrap_or(now);
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let rate = |n: usize, s: f64| if s > 0.0 { n as f64 / s } else { 0.0 };
        let prompt_seconds = seconds(self.clock.started, prompt_end);
        let generation_seconds = seconds(prompt_end, now);
        let generated_tokens = self.history.len() - self.request.prompt.len();
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
            seed: self.request.sampler.seed(),
        }
    }
}
