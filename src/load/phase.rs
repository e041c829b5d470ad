//! The phases of a load.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::hub::Retry;

/// What a load is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadingPhase {
    /// Finding the model and reading its configuration.
    DownloadingConfig,
    /// Downloading a weight file.
    DownloadingWeights {
        /// The file's name.
        file: String,
        /// Its number, from 1.
        file_index: usize,
        /// How many files there are.
        total_files: usize,
        /// How much of this file is there, 0 to 1.
        progress: f64,
    },
    /// Reading a weight file into memory.
    LoadingWeights {
        /// The file's name.
        file: String,
        /// Its number, from 1.
        file_index: usize,
        /// How many files there are.
        total_files: usize,
        /// Bytes of weights read so far, over all files.
        bytes_done: u64,
        /// Bytes of weights in all files.
        bytes_total: u64,
    },
    /// Reading the tokenizer.
    LoadingTokenizer,
    /// Running the model once, so that the first answer is not slower than the next.
    InitializingModel,
    /// The model can be used.
    Ready,
    /// The load is over without a model.
    Failed(LoadingError),
}

/// Why a load failed, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadingError {
    /// The name of the phase that failed, as [`LoadingPhase::name`] gives it.
    pub phase: &'static str,
    /// What kind of error it was.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
}

impl LoadingError {
    pub(super) fn new(phase: &LoadingPhase, error: &Error) -> Self {
        LoadingError { phase: phase.name(), kind: error.kind(), message: error.to_string() }
    }
}

impl fmt::Display for LoadingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loading failed during {}: {}", self.phase, self.message)
    }
}

impl std::error::Error for LoadingError {}

impl LoadingPhase {
    /// The phase's name in events: `downloadingConfig`, `loadingWeights`, ...
    pub fn name(&self) -> &'static str {
        match self {
            LoadingPhase::DownloadingConfig => "downloadingConfig",
            LoadingPhase::DownloadingWeights { .. } => "downloadingWeights",
            LoadingPhase::LoadingWeights { .. } => "loadingWeights",
            LoadingPhase::LoadingTokenizer => "loadingTokenizer",
            LoadingPhase::InitializingModel => "initializingModel",
            LoadingPhase::Ready => "ready",
            LoadingPhase::Failed(_) => "failed",
        }
    }

    /// A sentence for people.
    pub fn description(&self) -> String {
        match self {
            LoadingPhase::DownloadingConfig => "Downloading configuration".into(),
            LoadingPhase::DownloadingWeights { file, file_index, total_files, progress } => {
                format!("Downloading {file} ({file_index}/{total_files}) - {}%", (progress * 100.0) as u32)
            }
            LoadingPhase::LoadingWeights { file, file_index, total_files, .. } => {
                format!("Loading weights from {file} ({file_index}/{total_files})")
            }
            LoadingPhase::LoadingTokenizer => "Loading tokenizer".into(),
            LoadingPhase::InitializingModel => "Initializing model".into(),
            LoadingPhase::Ready => "Ready".into(),
            LoadingPhase::Failed(error) => format!("Failed: {error}"),
        }
    }

    /// Whether no phase follows.
    pub fn is_terminal(&self) -> bool {
        matches!(self, LoadingPhase::Ready | LoadingPhase::Failed(_))
    }

    /// About how far the whole load is, 0 to 1: 0.01 for the configuration, up to 0.50 for downloads, up to 0.85 for
    /// reading weights, then 0.88, 0.95 and 1; 0 when it failed.
    pub fn estimated_progress(&self) -> f64 {
        match self {
            LoadingPhase::DownloadingConfig => 0.01,
            LoadingPhase::DownloadingWeights { file_index, total_files, progress, .. } => {
                let files = (*total_files).max(1) as f64;
                let before = file_index.saturating_sub(1) as f64;
                0.01 + 0.49 * ((before + progress.clamp(0.0, 1.0)) / files).min(1.0)
            }
            LoadingPhase::LoadingWeights { bytes_done, bytes_total, .. } => {
                let share = *bytes_done as f64 / (*bytes_total).max(1) as f64;
                0.50 + 0.35 * share.clamp(0.0, 1.0)
            }
            LoadingPhase::LoadingTokenizer => 0.88,
            LoadingPhase::InitializingModel => 0.95,
            LoadingPhase::Ready => 1.0,
            LoadingPhase::Failed(_) => 0.0,
        }
    }
}

/// A phase, or progress within it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadEvent {
    /// What the load is doing.
    pub phase: LoadingPhase,
    /// [`LoadingPhase::estimated_progress`], never less than in an earlier event of this load (0 when failed).
    pub estimated_progress: f64,
    /// Bytes that MLX holds, in the whole process.
    pub memory_bytes: usize,
    /// Since the load began.
    pub elapsed: Duration,
    /// While downloading: how that goes.
    pub download: Option<DownloadStatus>,
}

/// How the download of a load goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DownloadStatus {
    /// Bytes that are there, over all files known so far.
    pub bytes_done: u64,
    /// Bytes of these files. Grows once, when the weights come to the small files.
    pub bytes_total: u64,
    /// Received in the last seconds.
    pub bytes_per_second: f64,
    /// At that speed.
    pub remaining: Option<Duration>,
    /// A failure that is being waited out.
    pub retry: Option<Retry>,
}

impl LoadEvent {
    /// A sentence for people: the phase's, and why it waits.
    pub fn description(&self) -> String {
        match self.download.as_ref().and_then(|d| d.retry.as_ref()) {
            Some(retry) if !self.phase.is_terminal() => format!(
                "{}; trying again in {:.1} s ({} of {}): {}",
                self.phase.description(),
                retry.wait.as_secs_f64(),
                retry.attempt,
                retry.of,
                retry.reason
            ),
            _ => self.phase.description(),
        }
    }

    /// The event as one JSON object.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "event": "phase",
            "phase": self.phase.name(),
            "description": self.description(),
            "terminal": self.phase.is_terminal(),
            "estimated_progress": self.estimated_progress,
            "memory_bytes": self.memory_bytes,
            "elapsed_seconds": self.elapsed.as_secs_f64(),
        });
        let more = match &self.phase {
            LoadingPhase::DownloadingWeights { file, file_index, total_files, progress } => {
                json!({"file": file, "file_index": file_index, "total_files": total_files, "progress": progress})
            }
            LoadingPhase::LoadingWeights { file, file_index, total_files, bytes_done, bytes_total } => json!({
                "file": file, "file_index": file_index, "total_files": total_files,
                "bytes_done": bytes_done, "bytes_total": bytes_total,
            }),
            LoadingPhase::Failed(error) => json!({
                "failed_phase": error.phase, "code": error.kind.code(), "message": error.message,
            }),
            _ => json!({}),
        };
        let status = self.download.as_ref().map(|d| {
            json!({
                "bytes_done": d.bytes_done, "bytes_total": d.bytes_total, "bytes_per_second": d.bytes_per_second,
                "remaining_seconds": d.remaining.map(|r| r.as_secs_f64()),
                "retry": d.retry.as_ref().map(|r| json!({
                    "attempt": r.attempt, "of": r.of, "wait_seconds": r.wait.as_secs_f64(), "reason": r.reason,
                })),
            })
        });
        for part in [Some(more), status] {
            if let (Some(json), Some(Value::Object(part))) = (json.as_object_mut(), part) {
                json.extend(part);
            }
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loading(bytes_done: u64) -> LoadingPhase {
        LoadingPhase::LoadingWeights {
            file: "model.safetensors".into(),
            file_index: 1,
            total_files: 2,
            bytes_done,
            bytes_total: 1000,
        }
    }

    fn downloading(file_index: usize, progress: f64) -> LoadingPhase {
        LoadingPhase::DownloadingWeights { file: "a".into(), file_index, total_files: 2, progress }
    }

    #[test]
    fn progress_follows_the_bands() {
        let phases = [
            (LoadingPhase::DownloadingConfig, 0.01),
            (downloading(1, 0.0), 0.01),
            (downloading(1, 1.0), 0.255),
            (downloading(2, 1.0), 0.50),
            (loading(0), 0.50),
            (loading(500), 0.675),
            (loading(1000), 0.85),
            (LoadingPhase::LoadingTokenizer, 0.88),
            (LoadingPhase::InitializingModel, 0.95),
            (LoadingPhase::Ready, 1.0),
        ];
        for (phase, want) in &phases {
            assert!((phase.estimated_progress() - want).abs() < 1e-9, "{phase:?}");
        }
        assert!(phases.is_sorted_by(|a, b| a.1 <= b.1));
    }

    #[test]
    fn failure_is_terminal_and_says_when() {
        let error = LoadingError::new(&LoadingPhase::LoadingTokenizer, &Error::tokenizer("no tokenizer.json"));
        let phase = LoadingPhase::Failed(error);
        assert!(phase.is_terminal() && LoadingPhase::Ready.is_terminal() && !loading(1).is_terminal());
        assert_eq!(phase.estimated_progress(), 0.0);
        assert_eq!(phase.description(), "Failed: Loading failed during loadingTokenizer: no tokenizer.json");
        assert_eq!(downloading(2, 0.5).description(), "Downloading a (2/2) - 50%");
    }
}
