//! Models of the Hugging Face Hub.
//!
//! So far: finding what is already in the cache that the Python libraries share.
#![forbid(unsafe_code)]

mod cache;

pub use cache::{cache_dir, snapshot};
