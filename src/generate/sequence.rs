//! One answer: its tokens, its text, and when it ends.

use std::time::{Duration, Instant};

use super::events::{GenerationEvent, GenerationStats, ReuseEnd, StopReason, TokenInfo};
use super::proposer::MAX_PROPOSED;
use super::request::Request;
use super::sampling::Draw;
use super::stop::StopMatcher;
use crate::array::memory;
use crate::cache::CacheOptions;
use crate::error::{Error, Result};

/// Where events go.
pub type Emit<'a> = &'a mut dyn FnMut(&GenerationEvent);

/// The results of a step for one or more positions.
pub enum Next<'a> {
    /// Tokens that were chosen on the device, one per position.
    Tokens(&'a [u32]),
    /// Logits, which sampling modifies, one row per position.
    Logits(&'a mut [f32]),
}

/// The part of a prompt that need not be processed, because its state is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reuse {
    /// Tokens.
    pub tokens: usize,
    /// Tokens that the prompt has in common with a stored state.
    pub matched: usize,
    /// Why no more were reused.
    pub end: ReuseEnd,
}

/// A sequence: its prompt and the answer so far.
pub struct Sequence {
    request: Request,
    /// Prompt and answer.
    history: Vec<u32>,
    /// How many tokens of the prompt are processed.
    processed: usize,
    reuse: Reuse,
    /// The token that ended the answer, which is not part of it.
    ended_by: Option<u32>,
    /// Tokens that the last turn proposed and that are not confirmed.
    drafts: Vec<u32>,
    /// Whether the last token was proposed, so that the logits after it are known too.
    confirmed: bool,
    proposed: usize,
    accepted: usize,
    stops: StopMatcher,
    clock: Clock,
}

struct Clock {
    /// When it left the queue.
    begun: Instant,
    /// How long the prompt was worked on before it was decoded.
    prompt: Duration,
    /// When only its last token was left.
    decoded_from: Option<Instant>,
    prompt_done: Option<Instant>,
    first_token: Option<Instant>,
}

impl Sequence {
    pub fn new(request: Request) -> Sequence {
        Sequence {
            history: request.prompt.clone(),
            processed: 0,
            reuse: Reuse::default(),
            ended_by: None,
            drafts: Vec::new(),
            confirmed: false,
            proposed: 0,
            accepted: 0,
            stops: StopMatcher::new(&request.options.stop),
            clock: Clock {
                begun: Instant::now(),
                prompt: Duration::ZERO,
                decoded_from: None,
                prompt_done: None,
                first_token: None,
            },
            request,
        }
    }

    /// Its cache options.
    pub fn cache_options(&self) -> &CacheOptions {
        &self.request.cache
    }

    pub(super) fn prefill_step(&self) -> Option<usize> {
        self.request.options.prefill_step_size.map(|n| n as usize)
    }

    /// Its prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.request.prompt
    }

    /// The first tokens of the prompt need not be processed.
    pub fn reuse(&mut self, reuse: Reuse) {
        self.processed = reuse.tokens;
        self.reuse = reuse;
    }

    /// How many tokens of the prompt are processed.
    pub fn processed(&self) -> usize {
        self.processed
    }

    /// All tokens that a step may have processed: prompt and answer, and the token that ended it.
    pub fn tokens(&self) -> Vec<u32> {
        self.history.iter().copied().chain(self.ended_by).collect()
    }

    /// The rest of the prompt without its last token, which is left for the first decoding step: only its logits are
    /// needed.
    pub(super) fn unprocessed(&self) -> &[u32] {
        let prompt = &self.request.prompt;
        &prompt[self.processed..prompt.len() - 1]
    }

    /// `n` more tokens of the prompt were processed.
    pub(super) fn advance(&mut self, n: usize, emit: Emit) {
        self.processed += n;
        emit(&GenerationEvent::Prefill { processed: self.processed, total: self.request.prompt.len() });
    }

    /// So much time went into the prompt, of which only the last token is left if that is `all`.
    pub(super) fn worked(&mut self, time: Duration, all: bool) {
        self.clock.prompt += time;
        if all {
            self.clock.decoded_from = Some(Instant::now());
        }
    }

    /// How many positions memory is set aside for.
    pub fn positions(&self) -> usize {
        self.request.positions()
    }

    /// How many of them it has.
    pub fn position(&self) -> usize {
        match self.processed < self.request.prompt.len() {
            true => self.processed,
            false => self.history.len(),
        }
    }

    /// Whether it has taken as long as it may.
    pub fn is_overdue(&self) -> bool {
        self.request.is_overdue()
    }

    /// The last token of the prompt was processed, if it was not before.
    pub fn finish_prompt(&mut self, emit: Emit) {
        if self.processed < self.request.prompt.len() {
            self.advance(1, emit);
        }
    }

    /// Whether its tokens are the argmax, which the device computes.
    pub(super) fn is_greedy(&self) -> bool {
        let sampler = &self.request.sampler;
        sampler.is_greedy() && !sampler.wants_logprobs() && !self.needs_host()
    }

    /// Whether a device can draw its tokens.
    pub(super) fn is_drawable(&self) -> bool {
        self.request.sampler.is_drawable() && !self.needs_host()
    }

    /// Whether a guide looks at its logits.
    fn needs_host(&self) -> bool {
        self.request.guides.constraint.is_some() || self.request.guides.sampler.is_some()
    }

    /// The draw of the token after those already drawn.
    pub(super) fn draw(&mut self) -> Draw {
        self.request.sampler.draw()
    }

    /// Whether it may process several tokens in a step.
    pub fn proposes(&self) -> bool {
        self.request.guides.proposer.is_some()
    }

    /// It processes one token per step, whatever its proposer says: several at once would give different results.
    pub(super) fn propose_nothing(&mut self) {
        self.request.guides.proposer = None;
    }

    /// Asks the proposer for the next turn.
    pub fn propose(&mut self) {
        // One token follows the last confirmed one.
        let slack = self.slack().min(MAX_PROPOSED).min(self.room().saturating_sub(1));
        let Some(proposer) = &mut self.request.guides.proposer else { return };
        if slack == 0 {
            return;
        }
        let mut drafts = proposer.propose(&self.history);
        drafts.truncate(slack);
        let known = drafts.iter().take_while(|id| **id < self.request.vocabulary).count();
        let end = drafts.iter().position(|id| self.request.eos.contains(id)).map_or(known, |at| at + 1);
        drafts.truncate(known.min(end));
        if let Some(constraint) = &mut self.request.guides.constraint {
            drafts.truncate(constraint.allowed(&drafts));
        }
        self.proposed += drafts.len();
        self.drafts = drafts;
    }

    /// How many tokens may be fed in addition to the next one with the same results as one at a time: none that would
    /// make the cache quantize early, or that a bounded cache has no room for.
    fn slack(&self) -> usize {
        let cache = &self.request.cache;
        let position = self.history.len() - 1;
        let quantized = match cache.quantization.map(|q| q.start as usize) {
            Some(start) if position < start.max(1) => start.saturating_sub(position + 2),
            _ => usize::MAX,
        };
        let bounded = cache.max_kv_size.map_or(usize::MAX, |size| (size as usize).saturating_sub(position + 1));
        quantized.min(bounded)
    }

    /// The tokens to process next: the last one, and those that are proposed after it.
    pub(super) fn feed(&self) -> Vec<u32> {
        let last = self.history.last().expect("a prompt has tokens");
        [last].into_iter().chain(&self.drafts).copied().collect()
    }

    /// Whether, with `pending` tokens not counted yet, there is room for another.
    pub fn wants_more(&self, pending: usize) -> bool {
        self.room() > pending
    }

    /// How many more tokens there may be.
    fn room(&self) -> usize {
        let most = self.request.options.max_tokens.map_or(usize::MAX, |n| n as usize);
        // The last token needs no position.
        most.saturating_sub(self.generated()).min((self.request.limit + 1).saturating_sub(self.history.len()))
    }

    fn generated(&self) -> usize {
        self.history.len() - self.request.prompt.len()
    }

    /// Appends the next token to the answer, taking it from the first position of `next`. Returns the statistics if it
    /// was the last.
    ///
    /// A proposed token is confirmed by being chosen, so that an answer is, token by token and random number by random
    /// number, the one without proposals. For a deterministic proposal this is the usual rule: it is accepted with the
    /// probability that the model gives it, and otherwise replaced by one of the others in proportion to theirs.
    pub fn accept(&mut self, next: &mut Next, emit: Emit) -> Result<Option<GenerationStats>> {
        let token = match next {
            Next::Tokens(tokens) => self.chosen(tokens)?,
            Next::Logits(logits) => self.sample(logits)?,
        };
        self.confirmed = self.drafts.first() == Some(&token.id);
        if self.confirmed {
            self.drafts.remove(0);
            self.accepted += 1;
        }
        let now = Instant::now();
        self.clock.prompt_done.get_or_insert(now);
        if self.request.eos.contains(&token.id) {
            self.ended_by = Some(token.id);
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

    /// Whether the step gave the logits after the last token.
    pub fn knows_more(&self) -> bool {
        self.confirmed
    }

    /// How many positions of the last turn have to be trimmed, because their tokens were only proposed.
    pub fn surplus(&mut self) -> usize {
        std::mem::take(&mut self.drafts).len()
    }

    fn chosen(&self, tokens: &mut &[u32]) -> Result<TokenInfo> {
        let (&id, rest) = tokens.split_first().ok_or_else(no_position)?;
        *tokens = rest;
        match id < self.request.vocabulary {
            true => Ok(TokenInfo { id, ..Default::default() }),
            false => Err(Error::mlx("the model produced logits that cannot be sampled: NaN or infinite")),
        }
    }

    fn sample(&mut self, logits: &mut &mut [f32]) -> Result<TokenInfo> {
        let Request { sampler, guides, vocabulary, .. } = &mut self.request;
        let all = std::mem::take(logits);
        let (first, rest) = all.split_at_mut_checked(*vocabulary as usize).ok_or_else(no_position)?;
        *logits = rest;
        sampler.note_raw(first);
        if let Some(constraint) = &mut guides.constraint
            && !constraint.mask().apply(first)
        {
            return Err(Error::invalid_argument("the constraint allows no token"));
        }
        let sampled = match &mut guides.sampler {
            Some(own) => sampler.sample_by(first, &self.history, |logits, history| own.sample(logits, history))?,
            None => sampler.sample(first, &self.history)?,
        };
        if guides.constraint.is_some() && first[sampled.token as usize] == f32::NEG_INFINITY {
            let token = sampled.token;
            return Err(Error::invalid_argument(format!("the sampler chose token {token}, which is forbidden")));
        }
        if let Some(constraint) = &mut guides.constraint {
            constraint.accept(sampled.token);
        }
        let logprob = sampler.wants_logprobs().then_some(sampled.logprob);
        Ok(TokenInfo { id: sampled.token, logprob, top: sampled.top })
    }

    /// Ends the answer: text that was held back is emitted.
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
        let Clock { begun, prompt, decoded_from, prompt_done, first_token } = self.clock;
        let requested = self.request.requested;
        let now = Instant::now();
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let rate = |n: usize, s: f64| if s > 0.0 { n as f64 / s } else { 0.0 };
        let prompt_end = prompt_done.unwrap_or(now);
        let prompt_seconds = prompt.as_secs_f64() + decoded_from.map_or(0.0, |from| seconds(from, prompt_end));
        let generation_seconds = seconds(prompt_end, now);
        let generated_tokens = self.generated();
        GenerationStats {
            prompt_tokens: self.processed,
            generated_tokens,
            queue_seconds: seconds(requested, begun),
            prompt_seconds,
            generation_seconds,
            time_to_first_token: first_token.map(|t| seconds(requested, t)),
            prompt_tokens_per_second: rate(self.processed - self.reuse.tokens, prompt_seconds),
            // The first token belongs to the prompt's time.
            generation_tokens_per_second: rate(generated_tokens.saturating_sub(1), generation_seconds),
            peak_memory_bytes: memory::peak(),
            stop_reason,
            seed: self.request.sampler.seed(),
            proposed_tokens: self.proposed,
            accepted_tokens: self.accepted,
            reused_tokens: self.reuse.tokens,
            matched_tokens: self.reuse.matched,
            reuse_end: self.reuse.end,
        }
    }
}

fn no_position() -> Error {
    Error::internal("a step said nothing of a position")
}
