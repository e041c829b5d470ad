//! Events and statistics of a generation.

use serde::{Deserialize, Serialize};

/// What happened in a generation. The answer is the concatenated `text` of all events.
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
        /// The complete characters that are now certain, possibly none.
        text: String,
    },
    /// Text that had been held back, because it might have begun a stop string or was an incomplete character.
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
    /// The natural logarithm of its probability, if requested.
    pub logprob: Option<f32>,
    /// The most likely tokens with their log-probabilities, as many as were requested.
    pub top: Vec<(u32, f32)>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its answer.
    Eos,
    /// A stop string appeared.
    StopString,
    /// `max_tokens` was reached.
    Length,
    /// It was cancelled.
    Cancelled,
    /// The context is full.
    ContextFull,
    /// The time that it might take was over.
    Timeout,
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
            StopReason::Timeout => "timeout",
        }
    }
}

/// Why no more of a prompt was reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseEnd {
    /// The prefix store is off.
    #[default]
    Disabled,
    /// Nothing is stored yet for this model with these cache options.
    NothingStored,
    /// The stored states continue differently.
    Differs,
    /// Everything was reused that can be: the last token of a prompt is always processed.
    WholePrompt,
    /// Only whole blocks are reused, so that results are exactly the same.
    Block,
    /// A stored state begins like the prompt, but cannot go back to the position where they diverge.
    NotTrimmable,
    /// A state that begins like the prompt has been freed.
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

/// Statistics of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GenerationStats {
    /// Tokens of the prompt that were processed or reused.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Seconds from the start until the engine began to work on it.
    pub queue_seconds: f64,
    /// Seconds of work on the prompt. While others are decoded in between, their time is not counted.
    pub prompt_seconds: f64,
    /// Seconds from the end of the prompt until the end.
    pub generation_seconds: f64,
    /// Seconds from the start, queue included, to the first token.
    pub time_to_first_token: Option<f64>,
    /// Prompt tokens processed per second, not counting reused ones.
    pub prompt_tokens_per_second: f64,
    /// Answer tokens per second.
    pub generation_tokens_per_second: f64,
    /// The most bytes MLX has held so far, in the whole process.
    pub peak_memory_bytes: usize,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// The seed that was used.
    pub seed: u64,
    /// Tokens that were proposed by speculation.
    pub proposed_tokens: usize,
    /// Those of them that were accepted.
    pub accepted_tokens: usize,
    /// Tokens of the prompt whose state was reused from an earlier generation instead of processed.
    pub reused_tokens: usize,
    /// Length in tokens of the longest prefix that the prompt shares with the state of an earlier generation.
    pub matched_tokens: usize,
    /// Why no more were reused.
    pub reuse_end: ReuseEnd,
}
