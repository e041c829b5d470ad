//! Find, load and run language and vision models on Apple's MLX.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod array;
mod at_exit;
pub mod cache;
pub mod chat;
pub mod engine;
pub mod error;
pub mod ffi;
mod files;
pub mod generate;
pub mod hub;
pub mod load;
pub mod models;
pub mod nn;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, ErrorKind, Result};
