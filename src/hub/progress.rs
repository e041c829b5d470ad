//! How far a download is.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

/// A failure that is being waited out.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many tries have failed in a row, from 1.
    pub attempt: u32,
    /// The tries that may fail before the error is final.
    pub of: u32,
    /// The pause before the next try.
    pub wait: Duration,
    /// What went wrong.
    pub reason: String,
}

/// What a download is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadStage {
    /// Asking which files there are.
    Listing,
    /// Configuration, tokenizer and templates.
    Config,
    /// The weights.
    Weights,
    /// It has ended.
    Over,
}

/// How far one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Its path in the repository.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that are there.
    pub done: u64,
    /// Whether it is whole, checked and visible in the cache.
    pub finished: bool,
}

/// How far a download is. The totals grow when the weights come to the small files.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub stage: DownloadStage,
    /// The commit, once it is known.
    pub commit: Option<String>,
    /// All files known so far that the model needs, also those that were there before.
    pub files: Vec<FileProgress>,
    /// Bytes that are there, over all files.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Received in the last seconds.
    pub bytes_per_second: f64,
    /// At that speed.
    pub remaining: Option<Duration>,
    /// A failure that is being waited out.
    pub retry: Option<Retry>,
    /// Whether it is paused.
    pub paused: bool,
}

impl Progress {
    /// The first weight file that is not finished: its number from 1, how many there are, and itself.
    pub fn current_weights(&self) -> Option<(usize, usize, &FileProgress)> {
        let weights = || self.files.iter().filter(|f| f.name.ends_with(".safetensors"));
        let total = weights().count();
        let (place, file) =
            weights().enumerate().find(|(_, f)| !f.finished).or_else(|| weights().enumerate().last())?;
        Some((place + 1, total, file))
    }
}

/// How far any work on models is: a download, a check, a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// `listing`, `config`, `weights` (downloads); `verifying`, `copying`, `removing`.
    pub stage: &'static str,
    /// The file at hand, or the model where whole models are moved.
    pub file: String,
    /// Its number, from 1; 0 where there is none.
    pub file_index: usize,
    /// How many there are.
    pub total_files: usize,
    /// Bytes of it that are done.
    pub file_done: u64,
    /// Its bytes.
    pub file_size: u64,
    /// Bytes that are done, over all files.
    pub bytes_done: u64,
    /// Bytes of all files known so far.
    pub bytes_total: u64,
    /// In the last seconds.
    pub bytes_per_second: f64,
    /// At that speed.
    pub remaining: Option<Duration>,
    /// A failure that is being waited out.
    pub retry: Option<Retry>,
    /// Whether it is paused.
    pub paused: bool,
}

impl From<&Progress> for Activity {
    fn from(progress: &Progress) -> Self {
        let unfinished = progress.files.iter().position(|f| !f.finished);
        let place = unfinished.or_else(|| progress.files.len().checked_sub(1));
        let file = place.map(|p| &progress.files[p]);
        Activity {
            stage: match progress.stage {
                DownloadStage::Listing => "listing",
                DownloadStage::Config => "config",
                DownloadStage::Weights | DownloadStage::Over => "weights",
            },
            file: file.map_or_else(String::new, |f| f.name.clone()),
            file_index: place.map_or(0, |p| p + 1),
            total_files: progress.files.len(),
            file_done: file.map_or(0, |f| f.done),
            file_size: file.map_or(0, |f| f.size),
            bytes_done: progress.bytes_done,
            bytes_total: progress.bytes_total,
            bytes_per_second: progress.bytes_per_second,
            remaining: progress.remaining,
            retry: progress.retry.clone(),
            paused: progress.paused,
        }
    }
}

/// Speed over the last seconds.
#[derive(Default)]
pub(super) struct Speed {
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    const WINDOW: Duration = Duration::from_secs(5);

    /// Bytes a second, when `bytes` in all have arrived by `now`.
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
