//! What a step does for a sequence.

use super::sequence::Sequence;

/// What a step does for one sequence.
pub struct Turn<'a> {
    /// The sequence.
    pub seq: &'a mut Sequence,
    /// Tokens to process, at least one. They follow the positions in the sequence's cache.
    pub feed: Vec<u32>,
    /// The results wanted.
    pub wants: Wants,
}

/// The results that a sequence wants from a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The token that follows each of those fed, chosen on the device.
    Token,
    /// The logits that follow the last of those fed.
    Logits,
    /// The logits that follow each of those fed.
    AllLogits,
}

impl Turn<'_> {
    /// What a sequence needs next, where `draws` says whether the device draws tokens.
    pub fn of(seq: &mut Sequence, draws: bool) -> Turn<'_> {
        let feed = seq.feed();
        let wants = match (seq.is_greedy(), feed.len()) {
            (true, _) => Wants::Token,
            // Draws on the device use up random numbers, even for tokens that are then discarded.
            (false, 1) if draws && seq.is_drawable() => Wants::Token,
            (false, 1) => Wants::Logits,
            (false, _) => Wants::AllLogits,
        };
        Turn { seq, feed, wants }
    }

    /// Whether the next step can be computed before this one's token is known.
    pub(super) fn is_ahead(&self) -> bool {
        self.wants == Wants::Token && self.feed.len() == 1 && !self.seq.proposes()
    }
}
