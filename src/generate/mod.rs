//! From a prompt to a stream of tokens.
//!
//! A [`Request`] is checked on the caller's thread. On the model's thread [`Prefill`] processes its prompt; then the
//! [`Sequence`] joins a [`Batch`], which decodes several of them together. In each step every sequence has a [`Turn`]: the
//! tokens to process, one or, where a [`Proposer`] guesses, several, and what is wanted of them.
#![forbid(unsafe_code)]

mod batch;
mod constraint;
mod custom;
mod events;
mod options;
mod prefill;
mod proposer;
mod request;
mod rows;
pub mod sampling;
mod sequence;
mod stop;
mod turn;
mod warm_up;

pub use crate::cache::{CacheOptions, KvQuantization};
pub(crate) use batch::Batch;
pub use constraint::{Constraint, Mask};
pub use custom::CustomSampler;
pub use events::{GenerationEvent, GenerationStats, ReuseEnd, StopReason, TokenInfo};
pub use options::GenerateOptions;
pub(crate) use prefill::{Others, Prefill, forward_beside};
pub use proposer::{MAX_PROPOSED, PromptLookup, Proposer};
pub use request::Guides;
pub(crate) use request::{ModelFacts, Request, check_tokens};
pub use sampling::LogprobsMode;
pub(crate) use sequence::{Next, Reuse, Sequence};
pub(crate) use turn::Turn;
pub(crate) use warm_up::warm_up;
