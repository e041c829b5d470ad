//! The phases of a load.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::progress::Progress;

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadingPhase {
    /// Reading the configuration of a model that is on the disk.
    ReadingConfig,
    /// Finding the model on its hub and downloading its configuration.
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
    /// The load is over without a model: it failed.
    Failed,
    /// The load is over without a model: it was cancelled.
    Cancelled,
}

impl LoadingPhase {
    /// All of them, in order.
    pub const ALL: [LoadingPhase; 9] = [
        LoadingPhase::ReadingConfig,
        LoadingPhase::DownloadingConfig,
        LoadingPhase::DownloadingWeights,
        LoadingPhase::LoadingWeights,
        LoadingPhase::LoadingTokenizer,
        LoadingPhase::InitializingModel,
        LoadingPhase::Ready,
        LoadingPhase::Failed,
        LoadingPhase::Cancelled,
    ];

    /// The phase's name in events: `downloadingConfig`, `loadingWeights`, ...
    pub fn name(self) -> &'static str {
        match self {
            LoadingPhase::ReadingConfig => "readingConfig",
            LoadingPhase::DownloadingConfig => "downloadingConfig",
            LoadingPhase::DownloadingWeights => "downloadingWeights",
            LoadingPhase::LoadingWeights => "loadingWeights",
            LoadingPhase::LoadingTokenizer => "loadingTokenizer",
            LoadingPhase::InitializingModel => "initializingModel",
            LoadingPhase::Ready => "ready",
            LoadingPhase::Failed => "failed",
            LoadingPhase::Cancelled => "cancelled",
        }
    }

    /// What it does, for people: `Loading failed while ...`.
    fn activity(self) -> &'static str {
        match self {
            LoadingPhase::ReadingConfig => "reading the configuration",
            LoadingPhase::DownloadingConfig => "downloading the configuration",
            LoadingPhase::DownloadingWeights => "downloading the weights",
            LoadingPhase::LoadingWeights => "loading the weights",
            LoadingPhase::LoadingTokenizer => "loading the tokenizer",
            LoadingPhase::InitializingModel => "initializing the model",
            LoadingPhase::Ready | LoadingPhase::Failed | LoadingPhase::Cancelled => "ending",
        }
    }

    /// Whether no phase follows.
    pub fn is_terminal(self) -> bool {
        matches!(self, LoadingPhase::Ready | LoadingPhase::Failed | LoadingPhase::Cancelled)
    }

    /// About how far the whole load is, 0 to 1: 0.01 for the configuration, up to 0.50 for downloads, up to 0.85 for
    /// reading weights, then 0.88, 0.95 and 1; 0 when it failed or was cancelled.
    pub(super) fn estimated_progress(self, progress: Option<&Progress>) -> f64 {
        match self {
            LoadingPhase::ReadingConfig | LoadingPhase::DownloadingConfig => 0.01,
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
            LoadingPhase::Failed | LoadingPhase::Cancelled => 0.0,
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
    /// What went wrong, in brief: [`Error::summary`].
    pub summary: String,
}

impl LoadingError {
    pub(super) fn new(phase: LoadingPhase, error: &Error) -> Self {
        LoadingError { phase, kind: error.kind(), message: error.to_string(), summary: error.summary() }
    }
}

/// In brief, for people; `message` has everything.
impl fmt::Display for LoadingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loading failed while {}: {}", self.phase.activity(), self.summary)
    }
}

impl std::error::Error for LoadingError {}
