//! What all crates of the engine share: errors, small files of a model, the environment, limits, how far work is.
#![deny(unsafe_code)]

pub mod env;
pub mod error;
pub mod files;
pub mod fork;
pub mod limits;
pub mod progress;
pub mod shards;
pub mod threads;
