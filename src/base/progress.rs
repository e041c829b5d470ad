//! Progress of long work: one type for downloads, for work on models and for loads.

use std::time::Duration;

use serde_json::{Value, json};

/// What work is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Listing the files.
    #[default]
    Listing,
    /// Downloading configuration, tokenizer and templates.
    Config,
    /// Downloading weights.
    Weights,
    /// Reading weights into memory.
    Reading,
    /// Comparing files with their checksums.
    Verifying,
    /// Copying or moving models.
    Copying,
    /// Removing models.
    Removing,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 7] = [
        Stage::Listing,
        Stage::Config,
        Stage::Weights,
        Stage::Reading,
        Stage::Verifying,
        Stage::Copying,
        Stage::Removing,
    ];

    /// The stage's name in events.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Listing => "listing",
            Stage::Config => "config",
            Stage::Weights => "weights",
            Stage::Reading => "reading",
            Stage::Verifying => "verifying",
            Stage::Copying => "copying",
            Stage::Removing => "removing",
        }
    }

    /// Whether it is a part of a download.
    pub fn is_download(self) -> bool {
        matches!(self, Stage::Listing | Stage::Config | Stage::Weights)
    }
}

/// A failure that is about to be retried.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many attempts have failed in a row, from 1.
    pub attempt: u32,
    /// How many attempts may fail before the error is final.
    pub limit: u32,
    /// The wait before the next attempt.
    pub wait: Duration,
    /// What went wrong.
    pub reason: String,
}

/// Progress of the work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// The current file, or the model when whole models are moved or removed. Empty if there is none.
    pub file: String,
    /// Its number within the stage, from 1; 0 if there is none.
    pub file_index: usize,
    /// How many files the stage has, as far as is known.
    pub total_files: usize,
    /// Bytes of the file that are done.
    pub file_bytes_done: u64,
    /// Bytes of the file; 0 where files are not counted individually.
    pub file_bytes_total: u64,
    /// Bytes that are done, over all files and stages. Never decreases, also where a file is downloaded again.
    pub bytes_done: u64,
    /// Bytes of all files known so far; a download learns the size of its weights after its small files.
    pub bytes_total: u64,
    /// Bytes per second over the last seconds; 0 where it is not measured.
    pub bytes_per_second: f64,
    /// Time remaining at that speed; `None` if unknown.
    pub remaining: Option<Duration>,
    /// A failure that is about to be retried.
    pub retry: Option<Retry>,
    /// Whether the work is paused.
    pub paused: bool,
    /// What the work waits for another process to finish.
    pub waiting: Option<String>,
}

impl Progress {
    /// Fraction of the file that is done, 0 to 1.
    pub fn file_fraction(&self) -> f64 {
        match self.file_bytes_total {
            0 => 0.0,
            total => (self.file_bytes_done as f64 / total as f64).min(1.0),
        }
    }

    /// Fraction of everything that is done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        match self.bytes_total {
            0 => 0.0,
            total => (self.bytes_done as f64 / total as f64).min(1.0),
        }
    }

    /// Whether both are equal apart from the speed, which alone is not worth an event.
    pub fn is_where(&self, other: &Progress) -> bool {
        let still = |p: &Progress| Progress { bytes_per_second: 0.0, remaining: None, ..p.clone() };
        still(self) == still(other)
    }

    /// As JSON, everywhere in the same form: with the names of the C struct `mlxe_progress_t`, the stage by name, and
    /// unknown values as null.
    pub fn to_json(&self) -> Value {
        let retry = self.retry.as_ref();
        json!({
            "stage": self.stage.name(),
            "file": self.file,
            "file_index": self.file_index,
            "total_files": self.total_files,
            "file_bytes_done": self.file_bytes_done,
            "file_bytes_total": self.file_bytes_total,
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
            "bytes_per_second": self.bytes_per_second,
            "remaining_seconds": self.remaining.map(|r| r.as_secs_f64()),
            "retry_attempt": retry.map_or(0, |r| r.attempt),
            "retry_limit": retry.map_or(0, |r| r.limit),
            "retry_seconds": retry.map_or(0.0, |r| r.wait.as_secs_f64()),
            "retry_reason": retry.map(|r| &r.reason),
            "is_paused": self.paused,
            "waiting_for": self.waiting,
        })
    }
}
