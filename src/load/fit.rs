//! Whether a model fits: the memory that it takes, from `config.json` and the headers of its weight files alone.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::estimate::{EstimateOptions, Given, MemoryEstimate};
use super::{ModelConfiguration, ModelSource};
use crate::array::{Device, system};
use crate::error::Result;
use crate::files::read_json;
use crate::hub::{Catalog, CatalogEntry, Client};
use crate::models::registry;
use crate::weights::Checkpoint;

/// Of the memory that is available this much is left to others: an eighth.
const RESERVE: u64 = 8;

/// What is known of a model without loading it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Its id or directory.
    pub name: String,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// Whether this library can run it. Where it cannot, only the weights are counted.
    pub supported: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// Number of parameters, quantized or not.
    pub parameters: u64,
    /// Bits of the most common quantization.
    pub bits: Option<u64>,
    /// The longest sequence it was made for.
    pub context_length: Option<u64>,
    /// Bytes that a download would bring; 0 where it is here already.
    pub download_bytes: u64,
    /// The estimate.
    pub memory: MemoryEstimate,
    /// Bytes that the machine has.
    pub memory_total: Option<u64>,
    /// Bytes that can be taken now.
    pub memory_available: Option<u64>,
    /// Whether it fits into seven eighths of the memory that is available now; `None` where the system does not say.
    pub fits: Option<bool>,
    /// The longest context, a multiple of 256, with which it would fit now; 0 if none does.
    pub largest_context: Option<u64>,
}

/// A tensor, from wherever its header was read.
struct Tensor {
    dtype: String,
    numbers: u64,
    bytes: u64,
}

/// All that an estimate needs.
struct Parts {
    config: Value,
    tensors: BTreeMap<String, Tensor>,
    download_bytes: u64,
}

/// Estimates what a model would take on a device, without reading or downloading its weights.
///
/// # Errors
/// If the model cannot be found, or its configuration or headers are malformed.
pub fn fit(configuration: &ModelConfiguration, device: Device, options: &EstimateOptions) -> Result<Fit> {
    options.validate()?;
    let directory = match (configuration.resolve()?, &configuration.source) {
        (Some(directory), _) => directory,
        (None, ModelSource::Directory(directory)) => directory.clone(),
        (None, ModelSource::Hub { .. }) => {
            return fit_with(&configuration.hub_or_env()?.client()?, configuration, device, options);
        }
    };
    local(&directory)?.fit(configuration.name(), device, options)
}

/// Like [`fit`]; what is not here is asked for through `client`, which can be cancelled.
///
/// # Errors
/// As [`fit`].
pub fn fit_with(
    client: &Client,
    configuration: &ModelConfiguration,
    device: Device,
    options: &EstimateOptions,
) -> Result<Fit> {
    match (&configuration.source, configuration.resolve()?) {
        (ModelSource::Hub { id, revision }, None) => {
            options.validate()?;
            inspect(client, id, revision.as_deref())?.fit(id.clone(), device, options)
        }
        _ => fit(configuration, device, options),
    }
}

/// A well-known model, and what this machine can do with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownModel {
    /// What the catalogue says.
    #[serde(flatten)]
    pub entry: CatalogEntry,
    /// Whether this library can run its architecture.
    pub supported: bool,
    /// Roughly the bytes of its weights.
    pub weight_bytes: u64,
    /// Whether they and a tenth more fit into seven eighths of the memory that is available now; `None` where the system
    /// does not say.
    pub fits: Option<bool>,
}

/// The models of a catalogue, smallest first.
pub fn catalogue(catalog: &Catalog) -> Vec<KnownModel> {
    let room = room();
    let known = |entry: CatalogEntry| {
        let weight_bytes = entry.weight_bytes();
        KnownModel {
            supported: registry::find(&entry.architecture).is_ok(),
            weight_bytes,
            fits: room.map(|room| weight_bytes + weight_bytes / 10 <= room),
            entry,
        }
    };
    catalog.entries().into_iter().map(known).collect()
}

/// What may be taken of the memory that is available now.
fn room() -> Option<u64> {
    system::memory().map(|m| m.available - m.available / RESERVE)
}

/// Looks for models of the Hub; the results know which of them can be run.
///
/// # Errors
/// As [`Client::search`].
pub fn search(client: &Client, query: &crate::hub::SearchQuery) -> Result<crate::hub::SearchPage> {
    client.search(query, &|model_type| registry::find(model_type).is_ok())
}

fn inspect(client: &Client, id: &str, revision: Option<&str>) -> Result<Parts> {
    let remote = client.inspect(id, revision)?;
    let tensor = |t: crate::hub::TensorHeader| Tensor { numbers: numbers(&t.shape), dtype: t.dtype, bytes: t.bytes };
    Ok(Parts {
        config: remote.config,
        tensors: remote.tensors.into_iter().map(|(name, t)| (name, tensor(t))).collect(),
        download_bytes: remote.download_bytes,
    })
}

fn local(directory: &std::path::Path) -> Result<Parts> {
    let checkpoint = Checkpoint::open(directory)?;
    let tensor = |t: crate::weights::TensorInfo| Tensor {
        numbers: numbers(&t.shape),
        dtype: format!("{:?}", t.dtype),
        bytes: t.bytes,
    };
    Ok(Parts {
        config: read_json(&directory.join("config.json"))?,
        tensors: checkpoint.tensors.into_iter().map(|(name, t)| (name, tensor(t))).collect(),
        download_bytes: 0,
    })
}

fn numbers(shape: &[usize]) -> u64 {
    shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64))
}

impl Parts {
    fn fit(&self, name: String, device: Device, options: &EstimateOptions) -> Result<Fit> {
        let model_type = self.config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let shape = registry::find(model_type).and_then(|a| a.shape(&self.config));
        let weights = self.tensors.values().map(|t| t.bytes).sum();
        let estimate = |options: &EstimateOptions| match &shape {
            Ok(shape) => {
                let element_bytes = self.element_bytes(&shape.embedding);
                Given { shape, device, weights, element_bytes }.estimate(options)
            }
            Err(_) => Ok(MemoryEstimate { weights, total: weights, ..Default::default() }),
        };
        let memory = estimate(options)?;
        let system = system::memory();
        let room = room();
        let largest_context = match (&shape, room) {
            (Ok(shape), Some(room)) => {
                let most = shape.context_length.unwrap_or(1 << 20).clamp(256, 1 << 24) / 256;
                let total = |n: u64| estimate(&EstimateOptions { context: Some(n * 256), ..options.clone() });
                let (mut low, mut high) = (0, most);
                while low < high {
                    let middle = (low + high).div_ceil(2);
                    match total(middle)?.total <= room {
                        true => low = middle,
                        false => high = middle - 1,
                    }
                }
                Some(low * 256)
            }
            _ => None,
        };
        let (parameters, bits) = self.count();
        Ok(Fit {
            name,
            model_type: model_type.to_owned(),
            supported: shape.is_ok(),
            reason: shape.as_ref().err().map(ToString::to_string),
            parameters,
            bits,
            context_length: shape.as_ref().ok().and_then(|s| s.context_length),
            download_bytes: self.download_bytes,
            memory,
            memory_total: system.map(|s| s.total),
            memory_available: system.map(|s| s.available),
            fits: room.map(|room| memory.total <= room),
            largest_context,
        })
    }

    /// Bytes of a number of the activations: the embedding's type decides it.
    fn element_bytes(&self, embedding: &str) -> u64 {
        let dtype = |suffix: &str| self.tensors.get(&format!("{embedding}.{suffix}")).map(|t| t.dtype.as_str());
        match dtype("scales").filter(|d| *d != "U8").or_else(|| dtype("weight")) {
            Some("F32") => 4,
            _ => 2,
        }
    }

    /// Weights as if none were quantized, and the most common bits.
    fn count(&self) -> (u64, Option<u64>) {
        let mut total = 0u64;
        let mut bits: BTreeMap<u64, u64> = BTreeMap::new();
        let block = self.config.get("quantization").or_else(|| self.config.get("quantization_config"));
        let number = |v: Option<&Value>, key: &str| v?.get(key)?.as_u64().filter(|n| (1..=1024).contains(n));
        for (name, tensor) in &self.tensors {
            let layer = name.strip_suffix(".weight").filter(|p| self.tensors.contains_key(&format!("{p}.scales")));
            if let Some(path) = layer {
                let own = block.and_then(|b| b.get(path));
                let of = number(own, "bits").or_else(|| number(block, "bits")).unwrap_or(4);
                let numbers = tensor.bytes.saturating_mul(8) / of;
                *bits.entry(of).or_default() += numbers;
                total += numbers;
            } else if !(name.ends_with(".scales") || name.ends_with(".biases")) {
                total += tensor.numbers;
            }
        }
        (total, bits.into_iter().max_by_key(|(_, n)| *n).map(|(bits, _)| bits))
    }
}
