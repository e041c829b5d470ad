//! The logits processors of mlx-lm: bias and the three penalties on tokens already seen.

use super::SamplingParams;
use crate::{Error, Result};

/// The settings that are not off, and a scratch mark per token of the vocabulary.
#[derive(Debug)]
pub(super) struct Penalties {
    bias: Vec<(u32, f32)>,
    repetition: Option<Penalty>,
    presence: Option<Penalty>,
    frequency: Option<Penalty>,
    /// All false between calls. Empty when nothing needs it.
    seen: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Penalty {
    strength: f32,
    window: usize,
}

impl Penalty {
    fn new(strength: f32, off: &[f32], window: u32) -> Option<Self> {
        (!off.contains(&strength)).then_some(Penalty { strength, window: window as usize })
    }

    /// The tokens in view. A window of 0 is everything: Python's `tokens[-0:]`, which mlx-lm uses.
    fn view<'a>(&self, history: &'a [u32]) -> &'a [u32] {
        match self.window {
            0 => history,
            n => &history[history.len().saturating_sub(n)..],
        }
    }
}

impl Penalties {
    pub fn new(params: &SamplingParams, vocab_size: usize) -> Result<Self> {
        if let Some((token, _)) = params.logit_bias.iter().find(|&(&token, _)| token as usize >= vocab_size) {
            return Err(Error::invalid_argument(format!(
                "logit_bias names token {token}, but the vocabulary has {vocab_size} tokens"
            )));
        }
        let repetition = Penalty::new(params.repetition_penalty, &[0.0, 1.0], params.repetition_context_size);
        let presence = Penalty::new(params.presence_penalty, &[0.0], params.presence_context_size);
        let frequency = Penalty::new(params.frequency_penalty, &[0.0], params.frequency_context_size);
        let marks = if repetition.is_some() || presence.is_some() { vocab_size } else { 0 };
        Ok(Penalties {
            bias: params.logit_bias.iter().filter(|(_, bias)| **bias != 0.0).map(|(&t, &b)| (t, b)).collect(),
            repetition,
            presence,
            frequency,
            seen: vec![false; marks],
        })
    }

    /// Whether no logit is ever changed.
    pub fn is_empty(&self) -> bool {
        self.bias.is_empty() && !self.needs_history()
    }

    /// Whether some token cannot be chosen.
    pub fn bans(&self) -> bool {
        self.bias.iter().any(|(_, bias)| *bias == f32::NEG_INFINITY)
    }

    pub fn needs_history(&self) -> bool {
        self.repetition.is_some() || self.presence.is_some() || self.frequency.is_some()
    }

    /// Bias, then repetition, presence and frequency, as `make_logits_processors` orders them.
    ///
    /// Tokens of the history outside the vocabulary (placeholders for images) are skipped.
    pub fn apply(&mut self, logits: &mut [f32], history: &[u32]) {
        for &(token, bias) in &self.bias {
            logits[token as usize] += bias;
        }
        if let Some(penalty) = self.repetition {
            let strength = penalty.strength;
            for_each_distinct(penalty.view(history), &mut self.seen, |token| {
                let logit = &mut logits[token];
                *logit = if *logit < 0.0 { *logit * strength } else { *logit / strength };
            });
        }
        if let Some(penalty) = self.presence {
            for_each_distinct(penalty.view(history), &mut self.seen, |token| logits[token] -= penalty.strength);
        }
        if let Some(penalty) = self.frequency {
            for &token in penalty.view(history) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit -= penalty.strength;
                }
            }
        }
    }
}

fn for_each_distinct(tokens: &[u32], seen: &mut [bool], mut visit: impl FnMut(usize)) {
    for &token in tokens {
        if let Some(seen) = seen.get_mut(token as usize)
            && !*seen
        {
            *seen = true;
            visit(token as usize);
        }
    }
    for &token in tokens {
        if let Some(seen) = seen.get_mut(token as usize) {
            *seen = false;
        }
    }
}
