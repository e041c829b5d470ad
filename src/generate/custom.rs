//! Samplers of one's own.

use crate::error::Result;

/// Chooses the tokens of one answer, in place of filters, temperature and draw. Runs on the host, on the model's thread: it
/// is slower than what the device chooses, for this sequence and not for others in the same batch.
pub trait CustomSampler: Send {
    /// The next token, by the logits of the whole vocabulary and the history: prompt and answer so far, oldest first. A
    /// constraint, `logit_bias` and the penalties have been applied to the logits; what they forbid is minus infinity.
    ///
    /// # Errors
    /// They end this generation, as a token does that is not in the vocabulary or that the constraint forbids.
    fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32>;
}

/// A closure that chooses.
impl<F: FnMut(&[f32], &[u32]) -> Result<u32> + Send> CustomSampler for F {
    fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        self(logits, history)
    }
}
