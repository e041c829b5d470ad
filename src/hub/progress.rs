//! Progress of a download.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Progress of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Its path in the repository.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that have arrived.
    pub done: u64,
    /// Whether it is complete, verified and visible in the cache.
    pub finished: bool,
}

/// Speed over the last seconds.
#[derive(Default)]
pub(super) struct Speed {
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    const WINDOW: Duration = Duration::from_secs(5);

    /// Bytes per second, when `bytes` in total have arrived by `now`.
    pub fn measure(&mut self, bytes: u64, now: Instant) -> f64 {
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= Duration::from_millis(50)) {
            self.samples.push_back((now, bytes));
        }
        while self.samples.len() > 2 && now.duration_since(self.samples[0].0) > Self::WINDOW {
            self.samples.pop_front();
        }
        let (since, before) = self.samples[0];
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { bytes.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_of_the_last_seconds() {
        let start = Instant::now();
        let mut speed = Speed::default();
        let mut last = 0.0;
        for i in 0..=200u64 {
            // 1 MB/s for ten seconds, then 3 MB/s.
            let bytes = i * 100_000 + i.saturating_sub(100) * 200_000;
            last = speed.measure(bytes, start + Duration::from_millis(i * 100));
            if i == 100 {
                assert!((last - 1e6).abs() < 1e3, "{last}");
            }
        }
        assert!((last - 3e6).abs() < 1e4, "{last}");
    }
}
