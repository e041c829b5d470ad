//! The vocabulary of fused operations, shared by all back ends: weights, norms, activations, epilogues, rotations,
//! masks. Descriptions only: nothing here computes anything.

pub mod activation;
pub mod at;
pub mod attention;
pub mod linear;
pub mod mask;
pub mod memo;
pub mod mixture;
pub mod norm;
pub mod offset;
pub mod recurrence;
pub mod rotation;
pub mod weight;
