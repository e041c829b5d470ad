//! The phases of a load.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::progress::Progress;

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadingPhase {
    /// Finding the model and reading its configuration.
    DownloadingConfig,
    /// Downloading a weight file.
    DownloadingWeights,
    /// Reading a weight file into memory.
    LoadingWeights,
    /// Reading the tokenizer.
    LoadingTokenizer,
    /// Running the model once, so that the first answer is not slower than later ones.
    InitializingModel,
    /// The model can be used.
    Ready,
    /// The load is over without a model.
    Failed,
}

impl LoadingPhase {
    /// All of them, in order.
    pub const ALL: [LoadingPhase; 7] = [
        LoadingPhase::DownloadingConfig,
        LoadingPhase::DownloadingWeights,
        LoadingPhase::LoadingWeights,
        LoadingPhase::LoadingTokenizer,
        LoadingPhase::InitializingModel,
        LoadingPhase::Ready,
        LoadingPhase::Failed,
    ];

    /// The phase's name in events: `downloadingConfig`, `loadingWeights`, ...
    pub fn name(self) -> &'static str {
        match self {
            LoadingPhase::DownloadingConfig => "downloadingConfig",
            LoadingPhase::DownloadingWeights => "downloadingWeights",
            LoadingPhase::LoadingWeights => "loadingWeights",
            LoadingPhase::LoadingTokenizer => "loadingTokenizer",
            LoadingPhase::InitializingModel => "initializingModel",
            LoadingPhase::Ready => "ready",
            LoadingPhase::Failed => "failed",
        }
    }

    /// Whether no phase follows.
    pub fn is_terminal(self) -> bool {
        matches!(self, LoadingPhase::Ready | LoadingPhase::Failed)
    }

    /// About how far the whole load is, 0 to 1: 0.01 for the configuration, up to 0.50 for downloads, up to 0.85 for
    /// reading weights, then 0.88, 0.95 and 1; 0 when it failed.
    pub(super) fn estimated_progress(self, progress: Option<&Progress>) -> f64 {
        match self {
            LoadingPhase::DownloadingConfig => 0.01,
            LoadingPhase::DownloadingWeights => {
                let files = |p: &Progress| {
                    let before = p.file_index.saturating_sub(1) as f64;
                    ((before + p.file_fraction()) / p.total_files.max(1) as f64).min(1.0)
                };
                0.01 + 0.49 * progress.map_or(0.0, files)
            }
            LoadingPhase::LoadingWeights => 0.50 + 0.35 * progress.map_or(0.0, Progress::fraction),
            LoadingPhase::LoadingTokenizer => 0.88,
            LoadingPhase::InitializingModel => 0.95,
            LoadingPhase::Ready => 1.0,
            LoadingPhase::Failed => 0.0,
        }
    }
}

/// Why a load failed, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadingError {
    /// The phase that failed.
    pub phase: LoadingPhase,
    /// What kind of error it was.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
}

impl LoadingError {
    pub(super) fn new(phase: LoadingPhase, error: &Error) -> Self {
        LoadingError { phase, kind: error.kind(), message: error.to_string() }
    }
}

impl fmt::Display for LoadingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loading failed during {}: {}", self.phase.name(), self.message)
    }
}

impl std::error::Error for LoadingError {}
