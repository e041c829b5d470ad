//! The coarse view of a load for web front ends: nine numbered checkpoints in four stages.

use serde_json::{Value, json};

use super::phase::LoadingPhase;

/// A stage of the coarse view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStage {
    /// Checkpoints 1 and 2.
    Initialization,
    /// Checkpoints 3 to 5.
    LoadingModel,
    /// Checkpoints 6 and 7.
    DeviceSetup,
    /// Checkpoints 8 and 9.
    Optimization,
}

impl CheckpointStage {
    /// The stage's name in events.
    pub fn name(self) -> &'static str {
        match self {
            CheckpointStage::Initialization => "initialization",
            CheckpointStage::LoadingModel => "loading_model",
            CheckpointStage::DeviceSetup => "device_setup",
            CheckpointStage::Optimization => "optimization",
        }
    }
}

/// One of the nine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// 1 to 9.
    pub step: u32,
    /// The stage it belongs to.
    pub stage: CheckpointStage,
    /// A sentence for people.
    pub message: &'static str,
}

impl Checkpoint {
    /// How many there are.
    pub const TOTAL: u32 = 9;

    /// The event `model_load_progress` for the model `id`.
    pub fn to_json(&self, id: &str) -> Value {
        json!({
            "event": "model_load_progress",
            "id": id,
            "step": self.step,
            "total": Self::TOTAL,
            "phase": self.stage.name(),
            "message": self.message,
        })
    }
}

const TABLE: [Checkpoint; 9] = [
    Checkpoint { step: 1, stage: CheckpointStage::Initialization, message: "Starting the loader" },
    Checkpoint { step: 2, stage: CheckpointStage::Initialization, message: "Reading the configuration" },
    Checkpoint { step: 3, stage: CheckpointStage::LoadingModel, message: "Looking for the model's files" },
    Checkpoint { step: 4, stage: CheckpointStage::LoadingModel, message: "Checking the weight files" },
    Checkpoint { step: 5, stage: CheckpointStage::LoadingModel, message: "Reading the weights" },
    Checkpoint { step: 6, stage: CheckpointStage::DeviceSetup, message: "All weights are in memory" },
    Checkpoint { step: 7, stage: CheckpointStage::DeviceSetup, message: "Preparing the model on the device" },
    Checkpoint { step: 8, stage: CheckpointStage::Optimization, message: "Warming up" },
    Checkpoint { step: 9, stage: CheckpointStage::Optimization, message: "The model is ready" },
];

/// Turns the phases of one load into checkpoints: each of the nine once, in order, none left out of a load that
/// succeeds.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    reached: usize,
}

impl Checkpoints {
    /// The event `model_load_started`, to be sent before the first phase.
    pub fn started(id: &str) -> Value {
        json!({"event": "model_load_started", "id": id})
    }

    /// The checkpoints that this phase reaches for the first time.
    pub fn reach(&mut self, phase: LoadingPhase) -> &'static [Checkpoint] {
        let step = match phase {
            LoadingPhase::ReadingConfig | LoadingPhase::DownloadingConfig => 2,
            LoadingPhase::DownloadingWeights => 3,
            LoadingPhase::LoadingWeights => 5,
            LoadingPhase::LoadingTokenizer => 6,
            LoadingPhase::InitializingModel => 8,
            LoadingPhase::Ready => 9,
            LoadingPhase::Failed | LoadingPhase::Cancelled => self.reached,
        };
        let from = self.reached;
        self.reached = step.max(from);
        &TABLE[from..self.reached]
    }

    /// The last checkpoint reached; before any, the first.
    pub fn last(&self) -> Checkpoint {
        TABLE[self.reached.max(1) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkpoint_once_and_in_order() {
        let phases = [
            LoadingPhase::DownloadingConfig,
            LoadingPhase::LoadingWeights,
            LoadingPhase::LoadingWeights,
            LoadingPhase::LoadingTokenizer,
            LoadingPhase::InitializingModel,
            LoadingPhase::Ready,
        ];
        let mut view = Checkpoints::default();
        let steps: Vec<u32> = phases.into_iter().flat_map(|p| view.reach(p)).map(|c| c.step).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let stages: Vec<&str> = TABLE.iter().map(|c| c.stage.name()).collect();
        assert_eq!(stages[..2], ["initialization"; 2]);
        assert_eq!(stages[2..5], ["loading_model"; 3]);
        assert_eq!(stages[5..7], ["device_setup"; 2]);
        assert_eq!(stages[7..], ["optimization"; 2]);
    }
}
