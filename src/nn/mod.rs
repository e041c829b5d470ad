//! Layers. They take their weights by path and know nothing of architectures.
#![forbid(unsafe_code)]

mod experts;
mod linear;
mod norm;
pub mod rope;
mod router;

pub use experts::{ExpertNames, Experts, ExpertsSpec};
pub use linear::{Embedding, Input, Joint, Linear};
pub use norm::{Norm, NormKind, NormSpec};
pub use rope::RopeSpec;
pub use router::{Router, RouterBias, RouterSpec, Score};

pub use crate::array::fused::Activation;
