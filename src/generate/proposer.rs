//! Tokens that are guessed, so that one step can confirm several of them.
//!
//! A guess costs no correctness: a step computes what follows each guessed token, and guesses are kept only as far as they
//! are the tokens that would have been chosen anyway (Leviathan et al., arXiv:2211.17192, for proposals that are certain).

/// Guesses how a sequence goes on. Runs on the thread of the model.
pub trait Proposer: Send {
    /// The tokens that may follow `context`, prompt and answer so far. None where there is nothing to go by; of more than
    /// [`MAX_PROPOSED`] the rest is ignored.
    fn propose(&mut self, context: &[u32]) -> Vec<u32>;
}

/// Tokens that are confirmed in one step at most: with the one before them 16, the rows up to which the CPU's kernels
/// compute every row as if it were alone.
pub const MAX_PROPOSED: usize = 15;

/// Prompt lookup: what followed the last tokens where they occurred before is proposed to follow again. Good where
/// answers repeat their prompt: summaries, code that is edited, questions about a text.
///
/// By A. Saxena ("Prompt Lookup Decoding", 2023); Yang et al. describe the same (arXiv:2304.04487).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptLookup {
    /// Tokens that are proposed at most, up to [`MAX_PROPOSED`].
    pub max_tokens: u32,
    /// How many tokens must have occurred before, at least 1.
    pub ngram: u32,
}

impl Proposer for PromptLookup {
    fn propose(&mut self, context: &[u32]) -> Vec<u32> {
        let n = self.ngram as usize;
        let Some(start) = context.len().checked_sub(n) else { return Vec::new() };
        let last = &context[start..];
        // The latest occurrence before this one.
        let Some(at) = (0..start).rev().find(|&at| &context[at..at + n] == last) else { return Vec::new() };
        // What follows it, over and over where that runs into the end.
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
        // A period goes on.
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
