//! Choosing the next token from the logits, on the host; [`choose`] does it on the device.
//!
//! [`Sampler::sample`] runs these steps; each is skipped while its parameter is off.
//!
//! 1. Logits processors: `logit_bias`, `repetition_penalty`, `presence_penalty`, `frequency_penalty` (the order of
//!    mlx-lm), then DRY. The log-probabilities reported are those of the logits at this point, or, as [`LogprobsMode`]
//!    says, before it or after step 5. A sampler of one's own ([`Sampler::sample_by`]) replaces the steps that follow.
//! 2. At temperature 0, the most likely token (of equal ones, the lowest id) is the answer.
//! 3. With Mirostat, its cut at the given temperature replaces step 4.
//! 4. Truncation: `top_n_sigma`, `typical_p`, `top_p`, `min_p`, XTC, `top_k`. The last four are in the order of mlx-lm,
//!    the first two before them as in llama.cpp. Probabilities are taken at temperature 1. `top_p`, `typical_p` and XTC
//!    count probabilities relative to the tokens that the steps before them left.
//! 5. The temperature, and the draw.
//!
//! # Reproducibility
//!
//! Draws come from ChaCha with 12 rounds. Its 256-bit key is the seed in little-endian order followed by zeros, so the
//! stream is defined by the seed alone, not by the version of a crate. Every token at a temperature above 0 takes one
//! 64-bit word, and one more before it when `xtc_probability` is above 0; the upper 53 bits are a fraction of 1 that
//! picks from the tokens in the order of their ids. Exponentials are computed here, with plain IEEE operations in a
//! fixed order. So equal logits and an equal seed give equal text on every platform. On a GPU, where [`choose`] picks, sums
//! are in f32: a draw that falls within their rounding of the border between two tokens may give the other one.
#![forbid(unsafe_code)]

mod device;
mod dry;
mod logprobs;
mod mirostat;
mod params;
mod penalties;
mod sets;
mod softmax;
#[cfg(test)]
mod tests;
mod truncation;

use std::hash::{BuildHasher, RandomState};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub(crate) use self::device::{Draw, choose};
pub use self::dry::resolve_breakers;
pub use self::logprobs::LogprobsMode;
pub use self::params::SamplingParams;
pub use self::sets::TokenSets;

use self::dry::Dry;
use self::mirostat::Mirostat;
use self::penalties::Penalties;
use self::softmax::Stats;
use self::truncation::{Truncation, gather, gather_top};
use crate::{Error, Result};

/// One sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token's id.
    pub token: u32,
    /// Its natural log-probability, as [`SamplingParams::logprobs_mode`] says.
    pub logprob: f32,
    /// The most likely tokens with their log-probabilities, best first; as many as [`SamplingParams::logprobs`] asks
    /// for, fewer where the rest have no probability at all.
    pub top: Vec<(u32, f32)>,
}

/// Chooses tokens for one sequence.
///
/// Holds the state of the random numbers and of Mirostat, and scratch space that is reused from token to token.
#[derive(Debug)]
pub struct Sampler {
    vocab_size: usize,
    temperature: f32,
    logprobs: Option<usize>,
    logprobs_mode: LogprobsMode,
    /// The logits as the model gave them, where they are asked for.
    raw: Vec<f32>,
    penalties: Penalties,
    dry: Option<Dry>,
    mirostat: Option<Mirostat>,
    truncation: Truncation,
    seed: u64,
    rng: ChaCha12Rng,
    candidates: Vec<(u32, f32)>,
    scratch: Vec<f32>,
}

impl Sampler {
    /// A sampler for logits of `vocab_size` tokens.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when [`SamplingParams::validate`] fails, when the
    /// vocabulary is empty, when a biased token is outside it, or when a DRY breaker is empty or overlong.
    pub fn new(params: &SamplingParams, vocab_size: usize, tokens: &TokenSets) -> Result<Self> {
        params.validate()?;
        if vocab_size == 0 || u32::try_from(vocab_size).is_err() {
            return Err(Error::invalid_argument(format!("a vocabulary of {vocab_size} tokens")));
        }
        let seed = params.seed.unwrap_or_else(entropy);
        Ok(Sampler {
            vocab_size,
            temperature: params.temperature,
            logprobs: params.logprobs.map(|n| n as usize),
            logprobs_mode: params.logprobs_mode,
            raw: Vec::new(),
            penalties: Penalties::new(params, vocab_size)?,
            dry: Dry::new(params, &tokens.dry_breakers)?,
            mirostat: Mirostat::new(params),
            truncation: Truncation::new(params, vocab_size, &tokens.xtc_excluded),
            seed,
            rng: rng(seed),
            candidates: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Whether [`sample`](Self::sample) returns the first largest of the logits as they are, so that an argmax on the
    /// device gives the same token: temperature 0 and no logits processors.
    ///
    /// Log-probabilities are another matter: see [`wants_logprobs`](Self::wants_logprobs).
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && self.penalties.is_empty() && self.dry.is_none()
    }

    /// Whether the caller requested log-probabilities ([`SamplingParams::logprobs`]).
    pub fn wants_logprobs(&self) -> bool {
        self.logprobs.is_some()
    }

    /// Whether [`sample`](Self::sample) looks at its `history`; if not, an empty one will do.
    pub fn needs_history(&self) -> bool {
        self.penalties.needs_history() || self.dry.is_some()
    }

    /// The seed in use, given or drawn: with it a run without a seed can be repeated.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chooses a token.
    ///
    /// `logits` holds one value per token of the vocabulary; the logits processors change it in place. `history` is
    /// the prompt and all tokens generated so far, oldest first; ids outside the vocabulary are ignored.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the number of logits is not the vocabulary's,
    /// or the bias bans all of it; [`Mlx`](crate::ErrorKind::Mlx) when they hold NaN or plus infinity, or nothing but minus
    /// infinity. The random numbers and Mirostat then stay as they were.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<Sampled> {
        let (stats, reported) = self.prepare_reported(logits, history)?;
        self.truncate(logits, &stats);
        let (token, probability) = match self.candidates[..] {
            [only] if self.temperature == 0.0 => only,
            _ => pick(&self.candidates, uniform(&mut self.rng)),
        };
        if let Some(mirostat) = self.mirostat.as_mut().filter(|_| self.temperature > 0.0) {
            mirostat.observe(probability);
        }
        if self.logprobs_mode == LogprobsMode::Sampled {
            let top = self.most_probable();
            return Ok(Sampled { token, logprob: probability.ln(), top });
        }
        Ok(self.report(logits, &reported, token))
    }

    /// Lets `choose` choose the token, by the logits after the logits processors and the history. Log-probabilities are those
    /// before it chooses, also where the mode is [`LogprobsMode::Sampled`]: nobody knows what it drew from.
    ///
    /// # Errors
    /// As [`sample`](Self::sample); what `choose` fails with;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a token outside the vocabulary.
    pub fn sample_by(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        choose: impl FnOnce(&[f32], &[u32]) -> Result<u32>,
    ) -> Result<Sampled> {
        let (_, reported) = self.prepare_reported(logits, history)?;
        let token = choose(logits, history)?;
        match (token as usize) < self.vocab_size {
            true => Ok(self.report(logits, &reported, token)),
            false => {
                let size = self.vocab_size;
                Err(Error::invalid_argument(format!("the sampler chose token {token} of a vocabulary of {size}")))
            }
        }
    }

    /// Notes the logits before anything changes them, where their log-probabilities are wanted. Without it they are those
    /// that [`sample`](Self::sample) is given.
    pub fn note_raw(&mut self, logits: &[f32]) {
        if self.logprobs.is_some() && self.logprobs_mode == LogprobsMode::Raw {
            self.raw.clear();
            self.raw.extend_from_slice(logits);
        }
    }

    /// The tokens that [`sample`](Self::sample) would draw from, by id, with their probabilities. Draws for XTC.
    #[cfg(test)]
    fn distribution(&mut self, logits: &mut [f32], history: &[u32]) -> Result<&[(u32, f32)]> {
        let stats = self.prepare(logits, history)?;
        self.truncate(logits, &stats);
        Ok(&self.candidates)
    }

    /// Runs the logits processors. Returns what log-probabilities are computed from beside the statistics that follow.
    fn prepare_reported(&mut self, logits: &mut [f32], history: &[u32]) -> Result<(Stats, Stats)> {
        if self.raw.is_empty() {
            self.note_raw(logits);
        }
        let reported = if self.raw.is_empty() { None } else { Some(softmax::scan(&self.raw)?) };
        let stats = self.prepare(logits, history)?;
        Ok((stats, reported.unwrap_or(stats)))
    }

    /// Runs the logits processors.
    fn prepare(&mut self, logits: &mut [f32], history: &[u32]) -> Result<Stats> {
        if logits.len() != self.vocab_size {
            return Err(Error::invalid_argument(format!(
                "{} logits for a vocabulary of {} tokens",
                logits.len(),
                self.vocab_size
            )));
        }
        self.penalties.apply(logits, history);
        if let Some(dry) = &mut self.dry {
            dry.apply(logits, history);
        }
        softmax::scan(logits).map_err(|error| match self.penalties.bans() && softmax::is_nothing(logits) {
            true => Error::invalid_argument("logit_bias leaves no token that could be chosen"),
            false => error,
        })
    }

    /// Leaves in `candidates` what can be drawn, with probabilities.
    fn truncate(&mut self, logits: &[f32], stats: &Stats) {
        let only = |token: u32| (token, stats.max);
        if self.temperature == 0.0 {
            self.candidates.clear();
            self.candidates.push(only(softmax::argmax(logits, stats.max)));
        } else if let Some(mirostat) = &self.mirostat {
            gather(logits, mirostat.floor(logits, stats, self.temperature).max(f32::MIN), &mut self.candidates);
            if self.candidates.is_empty() {
                self.candidates.push(only(softmax::argmax(logits, stats.max)));
            }
        } else {
            let chance = self.truncation.xtc_probability;
            let xtc = chance > 0.0 && uniform(&mut self.rng) < f64::from(chance);
            self.truncation.apply(logits, stats, xtc, &mut self.candidates);
        }
        let temperature = if self.temperature > 0.0 { self.temperature } else { 1.0 };
        softmax::softmax(&mut self.candidates, temperature);
    }

    /// The token with its log-probability and the most likely ones, by the raw logits where they were noted.
    fn report(&mut self, logits: &[f32], stats: &Stats, token: u32) -> Sampled {
        let raw = std::mem::take(&mut self.raw);
        let logits = if raw.is_empty() { logits } else { &raw };
        let top = self.most_likely(logits, stats);
        let logprob = stats.logprob(logits[token as usize]);
        self.raw = raw;
        self.raw.clear();
        Sampled { token, logprob, top }
    }

    /// The most likely of those that can be drawn.
    fn most_probable(&mut self) -> Vec<(u32, f32)> {
        let count = self.logprobs.unwrap_or(0);
        self.candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.candidates.iter().filter(|(_, p)| *p > 0.0).take(count).map(|&(token, p)| (token, p.ln())).collect()
    }

    fn most_likely(&mut self, logits: &[f32], stats: &Stats) -> Vec<(u32, f32)> {
        let count = self.logprobs.unwrap_or(0).min(logits.len());
        if count == 0 {
            return Vec::new();
        }
        gather_top(logits, count, f32::MIN, &mut self.candidates, &mut self.scratch);
        self.candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.candidates.iter().map(|&(token, logit)| (token, stats.logprob(logit))).collect()
    }
}

/// The log-probability of a token by these logits, and the most likely one.
///
/// # Errors
/// As [`Sampler::sample`] for logits that are not finite.
pub(crate) fn score(logits: &[f32], token: u32) -> Result<(f32, u32)> {
    let stats = softmax::scan(logits)?;
    let logit = logits.get(token as usize).ok_or_else(|| Error::internal("a token beyond the logits"))?;
    Ok((stats.logprob(*logit), softmax::argmax(logits, stats.max)))
}

/// The candidate at the fraction `at` (0 to below 1) of the cumulative probability.
fn pick(candidates: &[(u32, f32)], at: f64) -> (u32, f32) {
    let total: f64 = candidates.iter().map(|&(_, p)| f64::from(p)).sum();
    let target = at * total;
    let mut sum = 0.0;
    let passes = |&&(_, p): &&(u32, f32)| {
        sum += f64::from(p);
        // Strictly, so that a token without probability is never chosen.
        sum > target
    };
    // Rounding can put the target at the very end.
    let last = || candidates.iter().rev().find(|(_, p)| *p > 0.0);
    candidates.iter().find(passes).or_else(last).copied().unwrap_or_default()
}

fn rng(seed: u64) -> ChaCha12Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha12Rng::from_seed(key)
}

/// Uniform in 0..1, in steps of 2^-53.
fn uniform(rng: &mut ChaCha12Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// An unpredictable seed: the standard library keys its hash maps from the system's entropy.
fn entropy() -> u64 {
    RandomState::new().hash_one(std::time::SystemTime::now())
}
