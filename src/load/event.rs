//! What an observer hears of a load.

use std::time::Duration;

use serde_json::{Value, json};

use super::checkpoints::Checkpoint;
use super::phase::{LoadingError, LoadingPhase};
use crate::progress::Progress;

/// What a load is doing: a phase, or progress within it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadEvent {
    /// What it is doing.
    pub phase: LoadingPhase,
    /// Estimated progress of the whole load, 0 to 1. Never decreases, except to 0 when the load ends without a model.
    pub estimated_progress: f64,
    /// The coarse view: the last checkpoint that was reached.
    pub checkpoint: Checkpoint,
    /// While something is downloaded, and while weights are read: how far that is. Its bytes never decrease within a
    /// phase.
    pub progress: Option<Progress>,
    /// In the phases [`LoadingPhase::Failed`] and [`LoadingPhase::Cancelled`]: why, and in which phase.
    pub failure: Option<LoadingError>,
    /// Bytes that MLX holds in the whole process.
    pub memory_bytes: usize,
    /// Since the load began.
    pub elapsed: Duration,
}

impl LoadEvent {
    /// A sentence for people. It also mentions a failure that is about to be retried, and waiting for another process.
    pub fn description(&self) -> String {
        let none = Progress::default();
        let p = self.progress.as_ref().unwrap_or(&none);
        let text = match self.phase {
            LoadingPhase::ReadingConfig => "Reading configuration".into(),
            LoadingPhase::DownloadingConfig => "Downloading configuration".into(),
            LoadingPhase::DownloadingWeights => {
                let percent = (p.file_fraction() * 100.0) as u32;
                format!("Downloading {} ({}/{}) - {percent}%", p.file, p.file_index, p.total_files)
            }
            LoadingPhase::LoadingWeights => {
                format!("Loading weights from {} ({}/{})", p.file, p.file_index, p.total_files)
            }
            LoadingPhase::LoadingTokenizer => "Loading tokenizer".into(),
            LoadingPhase::InitializingModel => "Initializing model".into(),
            LoadingPhase::Ready => "Ready".into(),
            LoadingPhase::Failed => self.failure.as_ref().map_or("Loading failed".into(), LoadingError::to_string),
            LoadingPhase::Cancelled => "Cancelled".into(),
        };
        match (&p.waiting, &p.retry) {
            (Some(waiting), _) => format!("{text}; waiting: {waiting}"),
            (None, Some(r)) => {
                let wait = r.wait.as_secs_f64();
                format!("{text}; trying again in {wait:.1} s ({} of {}): {}", r.attempt, r.limit, r.reason)
            }
            (None, None) => text,
        }
    }

    /// The event as one JSON object: the one schema of a load event, with the names of the C interface's
    /// `mlxe_load_event_t`. The command line prints it, and a server sends it. `phase` is the phase's name; `progress` is
    /// [`Progress::to_json`], or null in phases without. tests/golden/load_events.json pins it.
    pub fn to_json(&self) -> Value {
        let failure = self.failure.as_ref();
        json!({
            "event": "phase",
            "phase": self.phase.name(),
            "is_terminal": self.phase.is_terminal(),
            "description": self.description(),
            "estimated_progress": self.estimated_progress,
            "checkpoint": self.checkpoint.step,
            "checkpoint_stage": self.checkpoint.stage.name(),
            "progress": self.progress.as_ref().map(Progress::to_json),
            "memory_bytes": self.memory_bytes,
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "error_code": failure.map_or(0, |f| f.kind.code()),
            "error_message": failure.map(|f| &f.message),
            "error_summary": failure.map(|f| &f.summary),
            "failed_phase": failure.map(|f| f.phase.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoints::Checkpoints;
    use super::*;
    use crate::error::Error;
    use crate::progress::{Retry, Stage};

    fn progress(stage: Stage, file_index: usize, done: u64, total: u64) -> Progress {
        let file = format!("model-0000{file_index}-of-00002.safetensors");
        Progress { stage, file, file_index, total_files: 2, bytes_done: done, bytes_total: total, ..Default::default() }
    }

    fn downloading(file_index: usize, done: u64) -> Progress {
        let all = (file_index as u64 - 1) * 1000 + done;
        Progress { file_bytes_done: done, file_bytes_total: 1000, ..progress(Stage::Weights, file_index, all, 2000) }
    }

    fn event(phase: LoadingPhase, progress: Option<Progress>) -> LoadEvent {
        let mut checkpoints = Checkpoints::default();
        checkpoints.reach(phase);
        LoadEvent {
            phase,
            estimated_progress: phase.estimated_progress(progress.as_ref()),
            checkpoint: checkpoints.last(),
            progress,
            failure: None,
            memory_bytes: 4096,
            elapsed: Duration::from_millis(1500),
        }
    }

    #[test]
    fn progress_follows_the_bands() {
        use LoadingPhase::*;
        let reading = |done| Some(progress(Stage::Reading, 1, done, 1000));
        let phases = [
            (ReadingConfig, None, 0.01),
            (DownloadingConfig, None, 0.01),
            (DownloadingWeights, Some(downloading(1, 0)), 0.01),
            (DownloadingWeights, Some(downloading(1, 1000)), 0.255),
            (DownloadingWeights, Some(downloading(2, 1000)), 0.50),
            (LoadingWeights, reading(0), 0.50),
            (LoadingWeights, reading(500), 0.675),
            (LoadingWeights, reading(1000), 0.85),
            (LoadingTokenizer, None, 0.88),
            (InitializingModel, None, 0.95),
            (Ready, None, 1.0),
            (Failed, None, 0.0),
            (Cancelled, None, 0.0),
        ];
        for (phase, progress, want) in &phases {
            assert!((phase.estimated_progress(progress.as_ref()) - want).abs() < 1e-9, "{phase:?} {progress:?}");
        }
    }

    fn ended(phase: LoadingPhase, error: &Error) -> LoadEvent {
        let failure = Some(LoadingError::new(LoadingPhase::LoadingWeights, error));
        LoadEvent { failure, ..event(phase, None) }
    }

    fn failed() -> LoadEvent {
        ended(LoadingPhase::Failed, &Error::invalid_weights("in 2 places: a is missing; b is missing"))
    }

    #[test]
    fn descriptions_are_sentences() {
        let phase = |phase, progress| event(phase, progress).description();
        let file = "model-00002-of-00002.safetensors";
        assert_eq!(
            phase(LoadingPhase::DownloadingWeights, Some(downloading(2, 500))),
            format!("Downloading {file} (2/2) - 50%")
        );
        assert_eq!(
            phase(LoadingPhase::LoadingWeights, Some(progress(Stage::Reading, 2, 5, 10))),
            format!("Loading weights from {file} (2/2)")
        );
        assert_eq!(failed().description(), "Loading failed while loading the weights: in 2 places: a is missing");
        assert_eq!(ended(LoadingPhase::Cancelled, &Error::cancelled()).description(), "Cancelled");
        assert_eq!(phase(LoadingPhase::ReadingConfig, None), "Reading configuration");
    }

    /// The schema of load events. Whoever changes it changes the golden file, and the C interface with it.
    #[test]
    fn events_have_one_schema() {
        let retry = Retry { attempt: 2, limit: 5, wait: Duration::from_millis(500), reason: "HTTP 503".into() };
        let waiting = Progress {
            bytes_per_second: 250.5,
            remaining: Some(Duration::from_secs(4)),
            retry: Some(retry),
            ..downloading(2, 500)
        };
        let events = [
            event(LoadingPhase::ReadingConfig, None),
            event(LoadingPhase::DownloadingConfig, Some(Progress { paused: true, ..Default::default() })),
            event(LoadingPhase::DownloadingWeights, Some(waiting)),
            event(LoadingPhase::LoadingWeights, Some(progress(Stage::Reading, 1, 64, 128))),
            event(LoadingPhase::LoadingTokenizer, None),
            event(LoadingPhase::Ready, None),
            failed(),
            ended(LoadingPhase::Cancelled, &Error::cancelled()),
        ];
        let golden = include_str!("../../tests/golden/load_events.json");
        let golden: Vec<Value> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let lines: Vec<String> = events.iter().map(|e| e.to_json().to_string()).collect();
        assert_eq!(events.iter().map(LoadEvent::to_json).collect::<Vec<_>>(), golden, "\n{}", lines.join("\n"));
        // Names of the C interface.
        let header = include_str!("../../include/mlx_engine.h");
        let mut names: Vec<&String> = golden[2].as_object().unwrap().keys().filter(|k| *k != "event").collect();
        names.extend(golden[2]["progress"].as_object().unwrap().keys());
        for name in names {
            assert!(header.contains(&format!("{name};")), "{name}");
        }
    }
}
