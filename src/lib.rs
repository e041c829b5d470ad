//! Find, load and run language and vision models on Apple's MLX.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod array;
pub mod cache;
pub mod chat;
pub mod engine;
pub mod ffi;
pub mod generate;
pub mod hub;
pub mod load;
pub mod models;
pub mod nn;
pub mod process;
pub mod tokenizer;
pub mod weights;

// Unit tests include tests/support, which knows this crate by its name.
#[cfg(test)]
extern crate self as mlx_engine;

use mlx_engine_base::{env, files, limits};
pub use mlx_engine_base::{error, progress};

pub use error::{Error, ErrorKind, Result};
