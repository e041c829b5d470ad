//! From a prompt to a stream of tokens.
//!
//! A [`Request`] is checked on the caller's thread. On the model's thread [`Prefill`] processes its prompt; then the
//! [`Sequence`] joins a [`Batch`], which decodes several of them together.
#![forbid(unsafe_code)]

mod batch;
mod events;
mod options;
mod prefill;
mod request;
pub mod sampling;
mod sequence;
mod stop;
mod warm_up;

pub(crate) use batch::Batch;
pub use events::{GenerationEvent, GenerationStats, StopReason, TokenInfo};
pub use options::GenerateOptions;
pub(crate) use prefill::Prefill;
pub(crate) use request::{ModelFacts, Request, check_tokens};
pub(crate) use sequence::{Next, Sequence};
pub(crate) use warm_up::warm_up;
