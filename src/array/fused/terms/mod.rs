//! What fused operations are made of, in words that every back end knows: weights, norms, activations, epilogues,
//! rotations, masks. Descriptions only: nothing here knows how anything is computed.

pub mod activation;
pub mod at;
pub mod attention;
pub mod linear;
pub mod mask;
pub mod memo;
pub mod mixture;
pub mod norm;
pub mod offset;
pub mod rotation;
pub mod weight;
