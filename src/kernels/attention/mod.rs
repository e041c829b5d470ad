//! Attention over cached keys and values, with what comes before it: normalisation and rotation of heads, and writing
//! the new keys and values into the cache.

mod append;
mod attend;
mod operands;
mod prologue;
mod score;
mod softmax;

pub use append::Append;
pub use attend::{attend, attend_all};
pub use operands::{Attention, Keys, Over, Visible};
