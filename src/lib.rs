//! Find, load and run language and vision models on Apple's MLX.
pub mod error;
pub mod tokenizer;

pub use error::{Error, ErrorKind, Result};
