//! The sizes of a model, from its configuration alone. Memory is estimated from them.

use serde::Serialize;

use crate::array::Device;

/// What determines a model's memory. The numbers come from a checked specification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelShape {
    /// Features of the residual stream.
    pub hidden: u64,
    /// Rows of the output layer.
    pub vocab: u64,
    /// The longest sequence the model was trained for.
    pub context_length: Option<u64>,
    /// The path of the weight whose type the activations, and keys and values that are not quantized, have.
    pub embedding: String,
    /// Numbers in the weights outside of layers.
    pub parameters: u64,
    /// One per layer.
    pub layers: Vec<LayerShape>,
    /// The default number of prompt positions per step.
    pub prefill_step: OnDevice,
}

/// One layer's sizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerShape {
    /// Numbers in its weights.
    pub parameters: u64,
    /// Its state.
    pub state: StateShape,
    /// Numbers per position in the successive activations of its mixer, before the output projection.
    pub mixer: Vec<u64>,
    /// Numbers per position between the first and the last operation of its feed-forward part.
    pub feed: OnDevice,
}

/// The state of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StateShape {
    /// No state.
    None,
    /// The same size at any length.
    Fixed {
        /// Its bytes.
        bytes: u64,
    },
    /// Keys and values of all positions, and a state of the same size at any length.
    Both {
        /// Numbers per position in keys and values.
        each: u64,
        /// Bytes beside them.
        bytes: u64,
    },
    /// Keys and values.
    KeysAndValues {
        /// Numbers per position, in the type of the activations or quantized.
        each: u64,
        /// How many positions; all if none.
        window: Option<u64>,
    },
}

/// A number that depends on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OnDevice {
    /// On a CPU.
    pub cpu: u64,
    /// On a GPU.
    pub gpu: u64,
}

impl OnDevice {
    /// The same on all.
    pub fn same(n: u64) -> OnDevice {
        OnDevice { cpu: n, gpu: n }
    }

    /// On this one.
    pub fn on(self, device: Device) -> u64 {
        match device {
            Device::Cpu => self.cpu,
            Device::Gpu => self.gpu,
        }
    }
}

impl ModelShape {
    /// With a vision tower of these sizes. It runs before the language model.
    pub(super) fn with_tower(mut self, tower: ModelShape) -> ModelShape {
        self.parameters = self.parameters.saturating_add(tower.parameters());
        self
    }

    /// Numbers in all weights.
    pub fn parameters(&self) -> u64 {
        self.layers.iter().fold(self.parameters, |sum, layer| sum.saturating_add(layer.parameters))
    }
}
