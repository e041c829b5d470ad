//! What log-probabilities refer to.

use serde::{Deserialize, Serialize};

/// Which probabilities of a token are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogprobsMode {
    /// Of the logits after a constraint and the logits processors, before truncation and temperature, as in mlx-lm.
    #[default]
    Processed,
    /// Of the logits as the model gives them.
    Raw,
    /// Of what the token is drawn from, after truncation and temperature.
    Sampled,
}
