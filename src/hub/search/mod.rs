//! Searching the Hub: its API filters what it can, the rest is filtered here.
//!
//! # The quality score
//!
//! 0 to 100, the sum of:
//!
//! | points | for |
//! |---|---|
//! | 40 | downloads of the last month: `40 * min(1, log10(1 + downloads) / 6)`, so a million gives all |
//! | 20 | likes: `20 * min(1, log10(1 + likes) / 4)`, so ten thousand give all |
//! | 10 | trending: `10 * min(1, log10(1 + score) / 2)`, so a hundred gives all |
//! | 15 | how lately it was changed: `15 * 0.5 ^ (days / 365)` |
//! | 15 | what its card and configuration say: five for a licence, a task, a `model_type` each |
//!
//! Unknown numbers count as 0. The score says how established a model is, not how good its answers are.

mod date;
mod kinds;
mod query;
mod summary;
mod weights;

use serde::Serialize;

pub use kinds::{Modality, SizeClass};
pub use query::{SearchQuery, Sort};
pub use summary::ModelSummary;

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SearchPage {
    /// The models found. May be fewer than the limit, even none, while there is a next page.
    pub models: Vec<ModelSummary>,
    /// Where to continue, if there may be more.
    pub next: Option<String>,
    /// How many models the Hub has sent for this page.
    pub examined: usize,
}
