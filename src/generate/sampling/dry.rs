//! DRY: a penalty that grows with the length of the passage a token would repeat.
//!
//! The rules are those of llama.cpp (`src/llama-sampling.cpp`, `llama_sampler_dry_apply`), which took them from
//! koboldcpp pull request 982.

use super::SamplingParams;
use crate::{Error, Result};

/// The longest token sequence of a breaker: the token it begins in and 20 more.
const MAX_BREAKER_TOKENS: usize = 21;

/// The state of one DRY penalty.
#[derive(Debug)]
pub(super) struct Dry {
    multiplier: f64,
    base: f64,
    /// The largest exponent whose power an f32 can hold.
    max_exponent: usize,
    allowed_length: usize,
    /// How many of the latest tokens are searched.
    window: usize,
    /// Sorted, so that all sequences that begin with one token are neighbours.
    breakers: Vec<Vec<u32>>,
    /// Scratch: `repeats[k]` is how many of the last tokens also occur `k` places before the end.
    repeats: Vec<usize>,
    /// Scratch: a token and the length of the repeat it would continue.
    continuations: Vec<(u32, usize)>,
}

impl Dry {
    /// `None` when the settings say that DRY is off.
    pub fn new(params: &SamplingParams, breakers: &[Vec<u32>]) -> Result<Option<Self>> {
        if params.dry_multiplier == 0.0 {
            return Ok(None);
        }
        if let Some(bad) = breakers.iter().find(|b| !(1..=MAX_BREAKER_TOKENS).contains(&b.len())) {
            return Err(Error::invalid_argument(format!(
                "a DRY sequence breaker must have 1 to {MAX_BREAKER_TOKENS} tokens, not {}",
                bad.len()
            )));
        }
        let mut breakers = breakers.to_vec();
        breakers.sort_unstable();
        breakers.dedup();
        let base = f64::from(params.dry_base);
        Ok(Some(Dry {
            multiplier: f64::from(params.dry_multiplier),
            base,
            // A base of 1 never overflows: the quotient is infinite and saturates.
            max_exponent: (f64::from(f32::MAX).ln() / base.ln()) as usize,
            allowed_length: params.dry_allowed_length as usize,
            window: match params.dry_penalty_last_n {
                0 => usize::MAX,
                n => n as usize,
            },
            breakers,
            repeats: Vec::new(),
            continuations: Vec::new(),
        }))
    }

    /// Lowers the logits of the tokens that would continue a repeat. Linear in the length of the history.
    pub fn apply(&mut self, logits: &mut [f32], history: &[u32]) {
        let tokens = &history[history.len().saturating_sub(self.window)..];
        let limit = self.tokens_after_breaker(tokens);
        if tokens.len() <= self.allowed_length || limit < self.allowed_length {
            return;
        }
        count_repeats(tokens, &mut self.repeats);

        self.continuations.clear();
        for (k, &length) in self.repeats.iter().enumerate().skip(1) {
            let length = length.min(limit);
            if length >= self.allowed_length {
                // The token that followed the earlier copy.
                self.continuations.push((tokens[tokens.len() - k], length));
            }
        }
        // Sorted by token and length, so that the last of each group is that token's longest repeat.
        self.continuations.sort_unstable();
        for group in self.continuations.chunk_by(|a, b| a.0 == b.0) {
            let &[.., (token, length)] = group else { continue };
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            if self.starting_with(token).first().is_some_and(|breaker| breaker.len() == 1) {
                continue;
            }
            let exponent = (length - self.allowed_length).min(self.max_exponent);
            let penalty = self.multiplier * self.base.powf(exponent as f64);
            *logit -= penalty.min(f64::from(f32::MAX)) as f32;
        }
    }

    /// How many tokens follow the last breaker (all of them where there is none): no repeat may reach back across it.
    fn tokens_after_breaker(&self, tokens: &[u32]) -> usize {
        for (start, &token) in tokens.iter().enumerate().rev() {
            let here = &tokens[start..];
            if let Some(longest) = self.starting_with(token).iter().filter(|b| here.starts_with(b)).map(Vec::len).max()
            {
                return here.len() - longest;
            }
        }
        tokens.len()
    }

    /// The breakers whose first token is this one, shortest first among those that share a prefix.
    fn starting_with(&self, token: u32) -> &[Vec<u32>] {
        let from = self.breakers.partition_point(|b| b[0] < token);
        let count = self.breakers[from..].partition_point(|b| b[0] == token);
        &self.breakers[from..from + count]
    }
}

/// For every `k`, how many of the last tokens occur, in the same order, `k` places further back.
///
/// This is the Z-function of the reversed text (Gusfield, "Algorithms on Strings, Trees, and Sequences", 1.3).
fn count_repeats(tokens: &[u32], repeats: &mut Vec<usize>) {
    let n = tokens.len();
    let from_end = |i: usize| tokens[n - 1 - i];
    repeats.clear();
    repeats.resize(n, 0);
    // The match found so far that reaches furthest back: it begins at `start` and ends before `end`.
    let (mut start, mut end) = (0, 0);
    for k in 1..n {
        let mut length = if k < end { repeats[k - start].min(end - k) } else { 0 };
        while k + length < n && from_end(length) == from_end(k + length) {
            length += 1;
        }
        repeats[k] = length;
        if k + length > end {
            (start, end) = (k, k + length);
        }
    }
}

/// Finds the token sequences in which each of the strings can occur.
///
/// A text may begin inside a token, so it has one sequence for every token that contains it or ends in a beginning of
/// it; the rest of such a text is split by `encode` (without special tokens). `vocabulary` gives each token's id and
/// its bytes as they appear in text.
pub fn resolve_breakers<'a>(
    texts: &[String],
    vocabulary: impl IntoIterator<Item = (u32, &'a [u8])>,
    mut encode: impl FnMut(&str) -> Result<Vec<u32>>,
) -> Result<Vec<Vec<u32>>> {
    // The rest of each string after its first `n` bytes; the same for every token, so encoded once.
    let mut tails: Vec<Vec<Option<Vec<u32>>>> = texts.iter().map(|text| vec![None; text.len()]).collect();
    let mut sequences = Vec::new();
    for (token, bytes) in vocabulary {
        for (text, tails) in texts.iter().zip(&mut tails) {
            let needle = text.as_bytes();
            if needle.is_empty() || bytes.is_empty() {
                continue;
            }
            if bytes.windows(needle.len()).any(|window| window == needle) {
                sequences.push(vec![token]);
                continue;
            }
            for n in 1..needle.len().min(bytes.len() + 1) {
                // A tail that begins inside a character cannot be encoded.
                if !bytes.ends_with(&needle[..n]) || !text.is_char_boundary(n) {
                    continue;
                }
                let tail = match &mut tails[n] {
                    Some(tail) => tail,
                    none => none.insert(encode(&text[n..])?),
                };
                let tail = &tail[..tail.len().min(MAX_BREAKER_TOKENS - 1)];
                sequences.push([&[token], tail].concat());
            }
        }
    }
    sequences.sort_unstable();
    sequences.dedup();
    Ok(sequences)
}
