//! What is noted of each model's use.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How a model was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Seconds since 1970.
    pub last_used: u64,
    /// Times.
    pub uses: u64,
}

pub(super) type Record = BTreeMap<String, Usage>;

/// Seconds since 1970.
pub(super) fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
