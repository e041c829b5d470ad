//! Models of the Hugging Face Hub: the cache that the Python libraries share, and downloads into it.
#![forbid(unsafe_code)]

pub use mlx_engine_hub::*;
