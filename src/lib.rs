//! Find, load and run language and vision models on Apple's MLX.
//!
//! An [`engine`] owns all work with MLX. It [loads](load) a model from a directory or from the [`hub`], reporting what
//! it is doing, and [generates](generate) tokens with it; a [`chat`] and a [`tokenizer`] translate between text and
//! tokens.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod chat;
pub mod engine;
pub mod generate;
pub mod hub;
pub mod load;
pub mod process;
pub mod tokenizer;

// The inside. Open for this repository's own tests and benchmarks, in no documentation, and no part of the API.
#[doc(hidden)]
pub mod array;
#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod ffi;
#[doc(hidden)]
pub mod models;
#[doc(hidden)]
pub mod weights;

mod nn;

// Unit tests include tests/support, which knows this crate by its name.
#[cfg(test)]
extern crate self as mlx_engine;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod test_support;

use mlx_engine_base::{files, fork, limits, shards, threads};

pub use array::{Device, Dtype, memory};
pub use mlx_engine_base::{env, error, progress};
pub use models::registry;

pub use error::{Error, ErrorKind, Result};
