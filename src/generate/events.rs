//! What a generation tells.

use serde::{Deserialize, Serialize};

/// What happened in a generation. The answer is the `text` of all events, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationEvent {
    /// A part of the prompt was processed.
    Prefill {
        /// Tokens processed so far.
        processed: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated.
    Token {
        /// The token.
        token: TokenInfo,
        /// The text that it completed: whole characters, perhaps none.
        text: String,
    },
    /// Text that had been held back, because it might have begun a stop text or lacked the end of a character.
    Text {
        /// The text.
        text: String,
    },
}

/// A generated token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenInfo {
    /// Its id.
    pub id: u32,
    /// The natural logarithm of its probability; only where logprobs were asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens with their log-probabilities, as many as were asked for.
    pub top: Vec<(u32, f32)>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its answer.
    Eos,
    /// A stop text appeared.
    StopString,
    /// The limit on tokens was reached.
    Length,
    /// It was cancelled.
    Cancelled,
    /// The context is full.
    ContextFull,
}

impl StopReason {
    /// The name in events and statistics.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Eos => "eos",
            StopReason::StopString => "stop_string",
            StopReason::Length => "length",
            StopReason::Cancelled => "cancelled",
            StopReason::ContextFull => "context_full",
        }
    }
}

/// Why no more of a prompt was reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseEnd {
    /// Nothing is kept.
    #[default]
    Disabled,
    /// Nothing was kept so far of this model with these cache options.
    NothingStored,
    /// Nothing that was kept goes on like the prompt.
    Differs,
    /// All was reused that can be: the last token of a prompt is always processed.
    WholePrompt,
    /// Only whole blocks are reused, so that results are exactly the same.
    Block,
    /// What was kept goes on like the prompt, but cannot go back to the position where it does not.
    NotTrimmable,
    /// What goes on like the prompt has been freed.
    Evicted,
}

impl ReuseEnd {
    /// The name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            ReuseEnd::Disabled => "disabled",
            ReuseEnd::NothingStored => "nothing_stored",
            ReuseEnd::Differs => "differs",
            ReuseEnd::WholePrompt => "whole_prompt",
            ReuseEnd::Block => "block",
            ReuseEnd::NotTrimmable => "not_trimmable",
            ReuseEnd::Evicted => "evicted",
        }
    }
}

/// How a generation went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GenerationStats {
    /// Tokens of the prompt that were processed or reused.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Seconds from the start until the prompt was processed.
    pub prompt_seconds: f64,
    /// Seconds from then to the end.
    pub generation_seconds: f64,
    /// Seconds from the start to the first token.
    pub time_to_first_token: Option<f64>,
    /// Prompt tokens that were processed a second.
    pub prompt_tokens_per_second: f64,
    /// Answer tokens a second.
    pub generation_tokens_per_second: f64,
    /// The most bytes MLX held so far, in the whole process.
    pub peak_memory_bytes: usize,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// The seed that was used.
    pub seed: u64,
    /// Tokens that were proposed, so that one step could confirm several.
    pub proposed_tokens: usize,
    /// Those of them that were right.
    pub accepted_tokens: usize,
    /// Tokens of the prompt that were not processed, because an earlier generation left their state.
    pub reused_tokens: usize,
    /// Tokens that the prompt has in common, from its beginning, with something that an earlier generation left.
    pub matched_tokens: usize,
    /// Why no more were reused.
    pub reuse_end: ReuseEnd,
}
