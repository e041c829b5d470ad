//! Speculation: tokens that are guessed, so that one step can confirm several.
//!
//! Guesses do not change the answer: a step computes the logits after each guessed token, and guesses are accepted only
//! as long as they are the tokens that would have been chosen anyway (Leviathan et al., arXiv:2211.17192, for
//! deterministic proposals).

/// Guesses how a sequence continues. Runs on the model's thread.
pub trait Proposer: Send {
    /// Tokens that may follow `context`, which is the prompt and the answer so far. Empty if there is no guess; those
    /// beyond [`MAX_PROPOSED`] are ignored.
    fn propose(&mut self, context: &[u32]) -> Vec<u32>;
}

/// The most tokens that one step can confirm: with the token before them that is 16 rows, up to which the CPU kernels
/// compute every row as if it were alone.
pub const MAX_PROPOSED: usize = 15;

/// Prompt lookup: proposes the tokens that followed where the latest ones occurred before. Works well where answers
/// repeat their prompt: summaries, code edits, questions about a text.
///
/// By A. Saxena ("Prompt Lookup Decoding", 2023); Yang et al. describe the same (arXiv:2304.04487).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptLookup {
    /// The most tokens to propose, up to [`MAX_PROPOSED`].
    pub max_tokens: u32,
    /// How many of the latest tokens must match, at least 1.
    pub ngram: u32,
}

impl Proposer for PromptLookup {
    fn propose(&mut self, context: &[u32]) -> Vec<u32> {
        let n = self.ngram as usize;
        let Some(start) = context.len().checked_sub(n) else { return Vec::new() };
        let last = &context[start..];
        // The latest occurrence before this one.
        let Some(at) = (0..start).rev().find(|&at| &context[at..at + n] == last) else { return Vec::new() };
        // The tokens that follow it, repeated if they run into the end.
        context[at + n..].iter().cycle().take(self.max_tokens as usize).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(max_tokens: u32, ngram: u32, context: &[u32]) -> Vec<u32> {
        PromptLookup { max_tokens, ngram }.propose(context)
    }

    #[test]
    fn what_followed_before_is_proposed() {
        assert_eq!(proposed(3, 2, &[1, 2, 3, 4, 5, 9, 1, 2]), [3, 4, 5]);
        // The latest occurrence.
        assert_eq!(proposed(2, 1, &[7, 1, 7, 2, 5, 7]), [2, 5]);
        // A repetition continues.
        assert_eq!(proposed(5, 2, &[8, 4, 5, 6, 4, 5, 6, 4, 5]), [6, 4, 5, 6, 4]);
        assert_eq!(proposed(4, 3, &[1, 1, 1, 1]), [1, 1, 1, 1]);
    }

    #[test]
    fn nothing_is_proposed_without_an_occurrence() {
        assert!(proposed(3, 2, &[1, 2, 3, 4]).is_empty());
        assert!(proposed(3, 3, &[1, 2]).is_empty());
        assert!(proposed(3, 1, &[]).is_empty());
    }
}
