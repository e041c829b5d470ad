//! From a prompt to a stream of tokens.
#![forbid(unsafe_code)]

mod generation;
mod options;
pub mod sampling;
mod stop;

pub(crate) use generation::{Generation, ModelFacts, Request, check_tokens};
pub use options::{GenerateOptions, GenerationEvent, GenerationStats, StopReason, TokenInfo};
