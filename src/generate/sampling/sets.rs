//! Token ids that depend on the tokenizer.

/// Token ids that depend on the tokenizer, which the sampler does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenSets {
    /// Tokens that XTC never removes. mlx-lm passes the newline and the end-of-sequence tokens.
    pub xtc_excluded: Vec<u32>,
    /// The token sequences of [`SamplingParams::dry_sequence_breakers`](super::SamplingParams::dry_sequence_breakers),
    /// from [`resolve_breakers`](super::resolve_breakers).
    pub dry_breakers: Vec<Vec<u32>>,
}
