//! The CPU back end: fused operations done by the kernels of `src/kernels`.
//!
//! Only for threads that compute on the CPU of a host that is not Apple's: [`active`] says so. Everything is
//! accumulated in f32. Each function returns `None` where there is no kernel for what is asked; shapes are checked, so
//! that a mistake is an error and not a panic in a kernel.

mod argmax;
mod attend;
mod attention;
mod common;
mod embedding;
mod experts;
mod grow;
mod inputs;
mod linear;
mod norm;
mod recurrence;
mod rotate;
mod stack;

pub use argmax::argmax;
pub use attend::attend;
pub use attention::attention;
pub use common::active;
pub use embedding::embedding;
pub use experts::experts;
pub use grow::grown;
pub use inputs::supports;
pub use linear::linear;
pub use norm::norm;
pub use recurrence::{convolve, recur};
pub use rotate::rotate;
pub use stack::stack;
