//! Find, load and run language and vision models on Apple's MLX.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod array;
pub mod cache;
pub mod error;
mod files;
pub mod models;
pub mod nn;
pub mod weights;

pub use error::{Error, ErrorKind, Result};
