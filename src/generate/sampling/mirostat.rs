//! Mirostat v2: cut off tokens that are too surprising, and steer the cut so that the text's surprise meets a target.
//!
//! Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity" (arXiv:2007.14966), in
//! the second version, which needs no estimate of Zipf's exponent; as llama.cpp runs it, after the temperature.

use std::f64::consts::LN_2;

use super::SamplingParams;
use super::softmax::{self, Stats};

#[derive(Debug)]
pub(super) struct Mirostat {
    tau: f64,
    eta: f64,
    /// The most surprise a token may have, in bits.
    mu: f64,
}

impl Mirostat {
    /// `None` when the settings say that it is off.
    pub fn new(params: &SamplingParams) -> Option<Self> {
        let tau = f64::from(params.mirostat_tau);
        (tau > 0.0).then(|| Mirostat { tau, eta: f64::from(params.mirostat_eta), mu: 2.0 * tau })
    }

    /// The lowest logit whose surprise at this temperature is within the bound. It can be above the largest logit.
    pub fn floor(&self, logits: &[f32], stats: &Stats, temperature: f32) -> f32 {
        let mass = if temperature == 1.0 { stats.mass } else { softmax::mass(logits, stats.max, temperature) };
        (f64::from(stats.max) + f64::from(temperature) * (mass.ln() - self.mu * LN_2)) as f32
    }

    /// Moves the bound against the error, given the probability that the sampled token had after the cut.
    pub fn observe(&mut self, probability: f32) {
        let surprise = -f64::from(probability).log2();
        self.mu -= self.eta * (surprise - self.tau);
    }

    #[cfg(test)]
    pub fn mu(&self) -> f64 {
        self.mu
    }
}
