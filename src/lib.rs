//! Find, load and run language and vision models on Apple's MLX.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod array;
pub mod cache;
pub mod chat;
pub mod engine;
pub mod error;
pub mod ffi;
mod files;
pub mod generate;
pub mod hub;
mod limits;
pub mod load;
pub mod models;
pub mod nn;
pub mod tokenizer;
pub mod weights;

// Unit tests include tests/support, which knows this crate by its name.
#[cfg(test)]
extern crate self as mlx_engine;

pub use error::{Error, ErrorKind, Result};
