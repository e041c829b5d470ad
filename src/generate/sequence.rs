//! One answer: which tokens it has, what becomes of them, and when it ends.

use std::time::Instant;

use super::events::{GenerationEvent, GenerationStats, StopReason, TokenInfo};
use super::request::Request;
use super::sampling::Draw;
use super::stop::StopMatcher;
use crate::array::memory;
use crate::cache::CacheOptions;
use crate::error::{Error, Result};

/// Where events go.
pub type Emit<'a> = &'a mut dyn FnMut(&GenerationEvent);

/// What a step of the model says about the next token of a sequence.
pub enum Next<'a> {
    /// The token, chosen on the device.
    Token(u32),
    /// The logits, which sampling changes.
    Logits(&'a mut [f32]),
}

/// A sequence: its prompt and the answer so far.
pub struct Sequence {
    request: Request,
    /// Prompt and answer.
    history: Vec<u32>,
    /// How many tokens of the prompt are processed.
    processed: usize,
    stops: StopMatcher,
    clock: Clock,
}

struct Clock {
    started: Instant,
    prompt_done: Option<Instant>,
    first_token: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(request: Request) -> Sequence {
        Sequence {
            history: request.prompt.clone(),
            processed: 0,
            stops: StopMatcher::new(&request.options.stop),
            clock: Clock { started: Instant::now(), prompt_done: None, first_token: None },
            request,
        }
    }

    /// How its cache is kept.
    pub fn cache_options(&self) -> &CacheOptions {
        &self.request.cache
    }

    pub(super) fn prefill_step(&self) -> Option<usize> {
        self.request.options.prefill_step_size.map(|n| n as usize)
    }

    /// What is left of the prompt before its last token, which is left for the first decoding step: that needs its
    /// logits alone.
    pub(super) fn unprocessed(&self) -> &[u32] {
        let prompt = &self.request.prompt;
        &prompt[self.processed..prompt.len() - 1]
    }

    /// `n` more tokens of the prompt were processed.
    pub(super) fn advance(&mut self, n: usize, emit: Emit) {
        self.processed += n;
        emit(&GenerationEvent::Prefill { processed: self.processed, total: self.request.prompt.len() });
    }

    /// The last token of the prompt was processed, if it was not before.
    pub fn finish_prompt(&mut self, emit: Emit) {
        if self.processed < self.request.prompt.len() {
            self.advance(1, emit);
        }
    }

    /// Whether its tokens are the likeliest ones, which the device finds.
    pub(super) fn is_greedy(&self) -> bool {
        self.request.sampler.is_greedy() && !self.request.sampler.wants_logprobs()
    }

    /// Whether a device can draw its tokens.
    pub(super) fn is_drawable(&self) -> bool {
        self.request.sampler.is_drawable()
    }

    /// The draw of the token behind those that are drawn.
    pub(super) fn draw(&mut self) -> Draw {
        self.request.sampler.draw()
    }

    /// The token to process next.
    pub(super) fn last(&self) -> u32 {
        *self.history.last().expect("a prompt has tokens")
    }

    /// Whether, with `pending` tokens not counted yet, there is room for another.
    pub fn wants_more(&self, pending: usize) -> bool {
        let most = self.request.options.max_tokens.map_or(usize::MAX, |n| n as usize);
        self.generated() + pending < most && self.history.len() + pending <= self.request.limit
    }

    fn generated(&self) -> usize {
        self.history.len() - self.request.prompt.len()
    }

    /// Takes the next token into the answer. Returns the statistics when that was the last.
    pub fn accept(&mut self, next: Next, emit: Emit) -> Result<Option<GenerationStats>> {
        let token = match next {
            Next::Token(id) if id < self.request.vocabulary => TokenInfo { id, ..Default::default() },
            Next::Token(_) => {
                return Err(Error::mlx("the model produced logits that cannot be sampled: NaN or infinite"));
            }
            Next::Logits(logits) => {
                let sampled = self.request.sampler.sample(logits, &self.history)?;
                let wants = self.request.sampler.wants_logprobs();
                TokenInfo { id: sampled.token, logprob: wants.then_some(sampled.logprob), top: sampled.top }
            }
        };
        let now = Instant::now();
        self.clock.prompt_done.get_or_insert(now);
        if self.request.eos.contains(&token.id) {
            return Ok(Some(self.end(StopReason::Eos, emit)));
        }
        self.clock.first_token.get_or_insert(now);
        self.history.push(token.id);
        let text = match &mut self.request.detokenizer {
            Some(detokenizer) => detokenizer.push(token.id),
            None => String::new(),
        };
        let (text, stopped) = self.stops.push(&text);
        emit(&GenerationEvent::Token { token, text });
        let reason = if stopped {
            StopReason::StopString
        } else if self.wants_more(0) {
            return Ok(None);
        } else if self.request.options.max_tokens.is_some_and(|n| self.generated() >= n as usize) {
            StopReason::Length
        } else {
            // The token just chosen needs a position before another can follow.
            StopReason::ContextFull
        };
        Ok(Some(self.end(reason, emit)))
    }

    /// Ends the answer: what was held back comes out.
    pub fn end(&mut self, reason: StopReason, emit: Emit) -> GenerationStats {
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
        self.stats(reason)
    }

    fn stats(&self, stop_reason: StopReason) -> GenerationStats {
        let now = Instant::now();
        let prompt_end = self.clock.prompt_done.unwrap_or(now);
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let rate = |n: usize, s: f64| if s > 0.0 { n as f64 / s } else { 0.0 };
        let prompt_seconds = seconds(self.clock.started, prompt_end);
        let generation_seconds = seconds(prompt_end, now);
        let generated_tokens = self.generated();
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
