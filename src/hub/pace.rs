//! The pace of a connection.

use std::time::{Duration, Instant};

/// Bytes per second below which a connection counts as stalled.
const SLOWEST: u64 = 1024;

/// Detects a connection that still delivers, but too slowly.
pub(super) struct Pace {
    window: Duration,
    since: Instant,
    arrived: u64,
}

impl Pace {
    pub fn new(window: Duration) -> Self {
        Pace { window, since: Instant::now(), arrived: 0 }
    }

    /// Counts what arrived. At the end of each window, if that was too little, says how much it was.
    pub fn add(&mut self, bytes: usize) -> Result<(), String> {
        self.arrived += bytes as u64;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        let arrived = std::mem::take(&mut self.arrived);
        self.since = Instant::now();
        match arrived < SLOWEST * self.window.as_secs().max(1) {
            true => Err(format!("only {arrived} bytes in {} s", elapsed.as_secs())),
            false => Ok(()),
        }
    }
}
