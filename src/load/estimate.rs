//! What a model takes in memory, from the sizes of its parts alone: no array is made, no weight is read.
//!
//! Three parts, all in bytes:
//!
//! - **weights**: the tensors as the checkpoint stores them, quantized or not.
//! - **KV cache**: keys and values of `context` positions in each layer, in the type of the activations or quantized,
//!   rounded up to the 256 positions by which caches grow; a layer with a window keeps its window and, while the prompt
//!   is processed, one step more.
//! - **activations**: what is alive at once while a step of the prompt is processed. MLX schedules operations ahead of
//!   those that compute, and the results of all of them are there: of two to six layers. So are the old buffers of caches
//!   that are just being replaced by larger ones. And the logits.
//!
//! It is for a prompt that fills the context. Tests compare it with the peak that MLX reports on the CPU, which it meets
//! to within 10 %. On a GPU the same rules are used; there they are not measured yet.

use serde::{Deserialize, Serialize};

use crate::array::Device;
use crate::cache::CacheOptions;
use crate::error::{Error, Result};
use crate::models::shape::{LayerShape, ModelShape, StateShape};

/// Positions by which caches grow.
const STEP: u64 = 256;
/// More than any sequence.
const MAX_CONTEXT: u64 = 1 << 30;
/// The context where neither the request nor the model names one, and at most what a default takes.
const USUAL_CONTEXT: u64 = 4096;
/// Results that are alive at once because MLX schedules operations ahead of those that compute. This and the operations
/// of a layer were found by measuring; they hold from 6 to 48 layers.
const IN_FLIGHT: usize = 50;
/// Operations of a layer besides those with attention as several operations: over a window, over quantized keys.
const WINDOW_EXTRA: usize = 5;
const QUANTIZED_EXTRA: usize = 16;

/// For what use the memory is estimated.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EstimateOptions {
    /// Positions, prompt and answer together; the model's context if not given, but 4096 at most.
    pub context: Option<u64>,
    /// Positions of the prompt that are processed at once; the device's usual step if not given.
    pub prefill_step: Option<u64>,
    /// Keys and values are quantized to this many bits: 2, 3, 4, 5, 6 or 8.
    pub kv_bits: Option<u64>,
    /// In groups of 32, 64 or 128; 64 if not given.
    pub kv_group_size: Option<u64>,
    /// Layers without a window keep this many positions only.
    pub max_kv_size: Option<u64>,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// For this many positions.
    pub context: u64,
    /// Weights.
    pub weights: u64,
    /// Keys and values.
    pub kv_cache: u64,
    /// What comes and goes with each step.
    pub activations: u64,
    /// All together: the peak.
    pub total: u64,
}

impl EstimateOptions {
    /// Refuses what no cache can be.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, value: u64| Err(Error::invalid_argument(format!("{key} is {value}")));
        for (key, value) in
            [("context", self.context), ("prefill_step", self.prefill_step), ("max_kv_size", self.max_kv_size)]
        {
            if let Some(n) = value.filter(|n| !(1..=MAX_CONTEXT).contains(n)) {
                return bad(key, n);
            }
        }
        match (self.kv_bits, self.kv_group_size) {
            (Some(bits), _) if !matches!(bits, 2..=6 | 8) => bad("kv_bits", bits),
            (_, Some(group)) if !matches!(group, 32 | 64 | 128) => bad("kv_group_size", group),
            _ => Ok(()),
        }
    }
}

/// The rest of what an estimate needs: where the model runs, and what the headers of its files say.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The model.
    pub shape: &'a ModelShape,
    /// Where it runs.
    pub device: Device,
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of a number of the activations, and of keys and values that are not quantized.
    pub element_bytes: u64,
}

impl Given<'_> {
    /// The estimate.
    ///
    /// # Errors
    /// As [`EstimateOptions::validate`].
    pub fn estimate(&self, options: &EstimateOptions) -> Result<MemoryEstimate> {
        options.validate()?;
        let (layers, weights) = (&self.shape.layers, self.weights);
        let made_for = self.shape.context_length.unwrap_or(USUAL_CONTEXT).max(1);
        let context = options.context.unwrap_or(made_for.min(USUAL_CONTEXT));
        let step = options.prefill_step.unwrap_or(self.shape.prefill_step.on(self.device)).min(context);
        let sum = |caches: &[u64]| caches.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        let caches = |context: u64, decoding: bool, options: &EstimateOptions| -> Vec<u64> {
            layers.iter().map(|l| self.cache(l, context, step, decoding, options)).collect()
        };
        // What the last growth has replaced: all but the positions that it brought.
        let full = context.next_multiple_of(STEP);
        let grown = step.next_multiple_of(STEP);
        let before = match full > grown {
            true => caches(full - grown, false, options),
            false => vec![0; layers.len()],
        };
        let prompt = (sum(&caches(context, false, options)), self.activations(step, &before, options));
        // A bounded cache is copied while the step before still reads it.
        let decoding = caches(context, true, options);
        let bounded = |l: &LayerShape| window(l, options).is_some();
        let copies: Vec<u64> =
            layers.iter().zip(&decoding).map(|(l, cache)| if bounded(l) { *cache } else { 0 }).collect();
        let answer = (sum(&decoding), self.activations(1, &copies, options));
        let all = |(cache, more): (u64, u64)| cache.saturating_add(more);
        let (kv_cache, mut activations) = if all(prompt) >= all(answer) { prompt } else { answer };
        if options.kv_bits.is_some() {
            // The first step is processed before anything is quantized.
            let plain = EstimateOptions { kv_bits: None, ..options.clone() };
            let first = caches(step, false, &plain);
            let first = sum(&first).saturating_add(self.activations(step, &vec![0; first.len()], &plain));
            activations = activations.max(first.saturating_sub(kv_cache));
        }
        let total = [weights, kv_cache, activations].into_iter().fold(0, u64::saturating_add);
        Ok(MemoryEstimate { context, weights, kv_cache, activations, total })
    }

    /// Bytes of the state of one sequence after so many positions.
    pub fn state(&self, positions: u64, cache: &CacheOptions) -> u64 {
        let options = EstimateOptions {
            kv_bits: cache.quantization.map(|q| q.bits as u64),
            kv_group_size: cache.quantization.map(|q| q.group_size as u64),
            max_kv_size: cache.max_kv_size.map(|size| size as u64),
            ..Default::default()
        };
        let layers = self.shape.layers.iter();
        layers.map(|layer| self.cache(layer, positions, 1, true, &options)).fold(0, u64::saturating_add)
    }

    /// Keys and values of one layer, at most: while the prompt is processed, or behind it.
    fn cache(&self, layer: &LayerShape, context: u64, step: u64, decoding: bool, options: &EstimateOptions) -> u64 {
        let (each, beside) = match layer.state {
            StateShape::KeysAndValues { each, .. } => (each, 0),
            StateShape::Both { each, bytes } => (each, bytes),
            StateShape::Fixed { bytes } => return bytes,
            StateShape::None => return 0,
        };
        let (positions, bits) = match (window(layer, options), decoding) {
            (Some(size), false) => (context.min(size + step - 1), None),
            (Some(size), true) => ((context + STEP).min(size), None),
            (None, _) => (context.next_multiple_of(STEP), options.kv_bits),
        };
        let numbers = positions.saturating_mul(each);
        let keys_and_values = match bits {
            // Codes, and a scale and a bias for each group.
            Some(bits) => {
                let group = options.kv_group_size.unwrap_or(64);
                numbers.saturating_mul(bits).div_ceil(8) + numbers.div_ceil(group) * 2 * self.element_bytes
            }
            None => numbers.saturating_mul(self.element_bytes),
        };
        keys_and_values.saturating_add(beside)
    }

    /// What is alive at once besides weights and caches; `before` is what each layer's cache took before it grew.
    fn activations(&self, step: u64, before: &[u64], options: &EstimateOptions) -> u64 {
        let bytes = |numbers: u64| numbers.saturating_mul(step).saturating_mul(self.element_bytes);
        let hidden = self.shape.hidden;
        let mut results = vec![bytes(hidden)];
        for (i, (layer, before)) in self.shape.layers.iter().zip(before).enumerate() {
            let extra = match () {
                () if window(layer, options).is_some() => WINDOW_EXTRA,
                () if options.kv_bits.is_some() => QUANTIZED_EXTRA,
                () => 0,
            };
            results.extend(layer.mixer.iter().copied().map(bytes));
            results.push(*before);
            // Of the last layer nothing is wanted but its keys and values.
            if i + 1 < self.shape.layers.len() {
                results.extend([hidden, hidden, layer.feed.on(self.device), hidden].map(bytes));
                results.extend(std::iter::repeat_n(0, extra));
            }
        }
        let sum = |results: &[u64]| results.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        let in_flight = results.windows(IN_FLIGHT.min(results.len())).map(sum).max().unwrap_or(0);
        // Decoding: the logits, and a copy of them in f32.
        in_flight.max(self.shape.vocab * (self.element_bytes + 4))
    }
}

/// How many positions a layer keeps at most.
fn window(layer: &LayerShape, options: &EstimateOptions) -> Option<u64> {
    match layer.state {
        StateShape::KeysAndValues { window, .. } => window.or(options.max_kv_size),
        StateShape::Both { .. } => options.max_kv_size,
        StateShape::Fixed { .. } | StateShape::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::shape::OnDevice;

    /// Of a model of such layers, for so many positions.
    fn kept(states: &[StateShape], context: u64) -> u64 {
        let layer = |state: &StateShape| LayerShape {
            parameters: 0,
            state: *state,
            mixer: vec![64],
            feed: OnDevice::same(128),
        };
        let shape = ModelShape {
            hidden: 64,
            vocab: 100,
            context_length: None,
            embedding: "embedding".into(),
            parameters: 0,
            layers: states.iter().map(layer).collect(),
            prefill_step: OnDevice::same(128),
        };
        let given = Given { shape: &shape, device: Device::Cpu, weights: 0, element_bytes: 2 };
        given.estimate(&EstimateOptions { context: Some(context), ..Default::default() }).unwrap().kv_cache
    }

    #[test]
    fn only_keys_and_values_grow() {
        let all = StateShape::KeysAndValues { each: 10, window: None };
        let window = StateShape::KeysAndValues { each: 10, window: Some(256) };
        let fixed = StateShape::Fixed { bytes: 1000 };
        let both = StateShape::Both { each: 10, bytes: 1000 };
        assert_eq!((kept(&[all], 512), kept(&[all], 4096)), (512 * 20, 4096 * 20));
        assert_eq!(kept(&[window], 4096), kept(&[window], 8192));
        assert_eq!((kept(&[fixed], 512), kept(&[fixed], 4096)), (1000, 1000));
        assert_eq!(kept(&[both], 4096), kept(&[all], 4096) + 1000);
        assert_eq!(kept(&[StateShape::None], 4096), 0);
        assert_eq!(
            kept(&[all, fixed, StateShape::None, window], 4096),
            kept(&[all], 4096) + 1000 + kept(&[window], 4096)
        );
    }
}
