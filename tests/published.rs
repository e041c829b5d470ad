//! Configurations of published models, without weights: tests/fixtures/published says what the entries mean.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mlx_engine::Device;
use mlx_engine::load::fit::fit;
use mlx_engine::load::{EstimateOptions, ModelConfiguration};
use mlx_engine::models::registry::{self, Kind};
use mlx_engine_base::files::{parse_value, read_text};
use serde::Deserialize;
use serde_json::Value;
use support::TempDir;

/// The `model_type`s of entries that nothing runs yet. An architecture that is added leaves this list.
const NOT_YET: &[&str] = &[
    "bitnet",
    "dbrx",
    "deepseek_v32",
    "glm_moe_dsa",
    "kimi_k25",
    "llama4",
    "nemotron-nas",
    "nemotron_h",
    "recurrent_gemma",
];

/// How far from an exact published count a model may be: what some count and others do not are the correction biases of
/// routers.
const EXACT: f64 = 1e-5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    id: String,
    /// The published count, tied embeddings once.
    parameters: u64,
    /// Relative; of a rounded count.
    tolerance: Option<f64>,
    /// How many of them are in a vision tower.
    #[serde(default)]
    vision: u64,
    /// How many are in what is never loaded.
    #[serde(default)]
    apart: u64,
    config: Value,
}

impl Published {
    fn model_type(&self) -> &str {
        self.config["model_type"].as_str().unwrap()
    }

    fn check_shape(&self) -> Result<(), String> {
        let row = registry::find(self.model_type()).unwrap();
        let shape = row.shape(&self.config).map_err(|e| e.to_string())?;
        let elsewhere = self.apart + if row.kind() == Kind::Vision { 0 } else { self.vision };
        let (got, want) = (shape.parameters() + elsewhere, self.parameters);
        let off = (got as f64 / want as f64 - 1.0).abs();
        match off <= self.tolerance.unwrap_or(EXACT) {
            true => Ok(()),
            false => Err(format!("{got} parameters instead of {want}")),
        }
    }

    fn check_fit(&self, directory: &Path) -> Result<(), String> {
        fs::write(directory.join("config.json"), self.config.to_string()).unwrap();
        let configuration = ModelConfiguration::directory(directory);
        let fit = fit(&configuration, Device::Cpu, &EstimateOptions::default()).map_err(|e| e.to_string())?;
        let memory = fit.memory;
        match fit.supported && memory.kv_cache > 0 && memory.activations > 0 && memory.total < u64::MAX {
            true => Ok(()),
            false => Err(format!("{:?}, {memory:?}", fit.reason)),
        }
    }
}

fn published() -> Vec<Published> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let entries = files.flat_map(|path| {
        let entries = parse_value(&read_text(&path, 1 << 20).unwrap()).unwrap();
        serde_json::from_value::<Vec<Published>>(entries).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    });
    entries.collect()
}

/// Runs `check` on every model whose architecture is known, and reports all failures at once.
fn each(check: impl Fn(&Published) -> Result<(), String>) {
    let failures: Vec<String> = published()
        .iter()
        .filter(|p| registry::find(p.model_type()).is_ok())
        .filter_map(|p| check(p).err().map(|why| format!("{}: {why}", p.id)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn there_are_many_and_the_list_of_what_is_missing_is_right() {
    let published = published();
    let ids: BTreeSet<&str> = published.iter().map(|p| p.id.as_str()).collect();
    assert!(ids.len() >= 150 && ids.len() == published.len(), "{} models, {} names", published.len(), ids.len());
    let types: BTreeSet<&str> = published.iter().map(Published::model_type).collect();
    let missing: Vec<&str> = types.into_iter().filter(|t| registry::find(t).is_err()).collect();
    assert_eq!(missing, NOT_YET);
}

#[test]
fn configurations_give_the_published_number_of_parameters() {
    each(Published::check_shape);
}

#[test]
fn configurations_give_an_estimate() {
    let directory = TempDir::new("published");
    // A tensor of one number, for the headers.
    let header = br#"{"model.embed_tokens.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0, 0]].concat();
    fs::write(directory.path().join("model.safetensors"), file).unwrap();
    each(|p| p.check_fit(directory.path()));
}
