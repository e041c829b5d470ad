//! Restrictions on the tokens of an answer, such as a grammar.

/// Follows an answer and says which tokens may come next. Runs on the host, on the model's thread.
///
/// A constraint also decides where the answer may end: end tokens are allowed where [`mask`](Self::mask) allows them.
pub trait Constraint: Send {
    /// The tokens that may come next.
    fn mask(&mut self) -> Mask;

    /// `token`, which the mask allowed, became part of the answer.
    fn accept(&mut self, token: u32);

    /// Takes back the last `n` accepted tokens: they were only proposed.
    fn rollback(&mut self, n: usize);
}

impl dyn Constraint {
    /// How many of these tokens could be accepted in sequence. Accepts none.
    pub(super) fn allowed(&mut self, tokens: &[u32]) -> usize {
        let mut n = 0;
        while n < tokens.len() && self.mask().allows(tokens[n]) {
            self.accept(tokens[n]);
            n += 1;
        }
        self.rollback(n);
        n
    }
}

const BITS: usize = u64::BITS as usize;

/// A set of tokens, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
}

impl Mask {
    /// No token of `vocab_size`.
    pub fn none(vocab_size: usize) -> Mask {
        Mask { words: vec![0; vocab_size.div_ceil(BITS)] }
    }

    /// Every token of `vocab_size`.
    pub fn all(vocab_size: usize) -> Mask {
        Mask { words: vec![u64::MAX; vocab_size.div_ceil(BITS)] }
    }

    /// These tokens of `vocab_size`; others are ignored.
    pub fn only(vocab_size: usize, tokens: &[u32]) -> Mask {
        let mut mask = Mask::none(vocab_size);
        tokens.iter().for_each(|&token| mask.allow(token));
        mask
    }

    /// Adds a token.
    pub fn allow(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / BITS) {
            *word |= 1 << (token as usize % BITS);
        }
    }

    /// Whether the token is in the set.
    pub fn allows(&self, token: u32) -> bool {
        self.words.get(token as usize / BITS).is_some_and(|word| word >> (token as usize % BITS) & 1 == 1)
    }

    /// Sets the logits of all tokens outside the set to minus infinity. Returns whether the set has any token.
    pub(super) fn apply(&self, logits: &mut [f32]) -> bool {
        let mut any = false;
        for (i, chunk) in logits.chunks_mut(BITS).enumerate() {
            match self.words.get(i).copied().unwrap_or(0) {
                u64::MAX => any = true,
                0 => chunk.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        match word >> bit & 1 {
                            1 => any = true,
                            _ => *logit = f32::NEG_INFINITY,
                        }
                    }
                }
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set_of_tokens() {
        for size in [1, 63, 64, 65, 200] {
            let mut logits = vec![1.0; size];
            assert!(!Mask::none(size).apply(&mut logits.clone()));
            assert!(Mask::all(size).apply(&mut logits) && logits == vec![1.0; size]);
            let last = size as u32 - 1;
            let mask = Mask::only(size, &[0, last, 100_000]);
            assert!(mask.allows(0) && mask.allows(last) && !mask.allows(100_000));
            assert!(mask.apply(&mut logits));
            for (token, logit) in logits.iter().enumerate() {
                let inside = token == 0 || token == size - 1;
                assert_eq!(*logit, if inside { 1.0 } else { f32::NEG_INFINITY });
                assert_eq!(mask.allows(token as u32), inside);
            }
        }
    }

    /// The output layer may be larger than the vocabulary: tokens beyond the mask are not allowed.
    #[test]
    fn tokens_beyond_the_mask_are_not_allowed() {
        let mut logits = vec![0.0; 130];
        assert!(Mask::all(64).apply(&mut logits));
        assert!(logits[..64].iter().all(|&x| x == 0.0) && logits[64..].iter().all(|&x| x == f32::NEG_INFINITY));
    }
}
