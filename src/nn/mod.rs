//! Layers. They take their weights by path and know nothing of architectures.
#![forbid(unsafe_code)]

mod experts;
mod heads;
mod linear;
mod norm;
pub mod rope;
mod router;

pub use experts::{ExpertNames, Experts, ExpertsSpec};
pub use heads::Heads;
pub use linear::{Embedding, Input, Joint, Linear};
pub use norm::{Norm, NormKind, NormSpec};
pub use rope::RopeSpec;
pub use router::{GroupScore, Groups, Router, RouterBias, RouterSpec, Score};

pub use crate::array::fused::Activation;
