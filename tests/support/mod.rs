//! What several integration tests share.
#![allow(dead_code)]

pub mod fixture;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fixture::{Packed, Packing, RawTensor, Recipe};
use mlx_engine::Result;
use mlx_engine::array::io::ReadProgress;
use mlx_engine::array::quant::{Mode, Quantized, Scheme};
use mlx_engine::array::{Array, Dtype};
use mlx_engine::engine::{Control, Engine, EngineOptions, Model};
use mlx_engine::generate::{GenerateOptions, GenerationEvent};
use mlx_engine::load::{LoadEvent, ModelConfiguration, WeightDtype};
use mlx_engine::models::{LanguageModel, registry};
use mlx_engine::weights::quantization::Quantization;
use mlx_engine::weights::{Checkpoint, Weights};

/// A fresh folder that goes away with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("mlxe-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An engine on the CPU, where the goldens were made. What one test generates does not change another's statistics.
pub fn cpu_engine() -> Engine {
    let device = Some(mlx_engine::array::Device::Cpu);
    Engine::new(&EngineOptions { device, prefix_bytes: Some(0), ..Default::default() }).unwrap()
}

/// The model itself, on this thread.
pub fn network(recipe: &Recipe, dir: &Path) -> Box<dyn LanguageModel> {
    let mut checkpoint = Checkpoint::open(dir).unwrap();
    let quantization = Quantization::from_config(&recipe.config).unwrap();
    let progress = ReadProgress::new(Arc::default());
    let weights = Weights::open(&mut checkpoint, quantization, Some(Dtype::F32), progress).unwrap();
    let model_type = recipe.config["model_type"].as_str().unwrap();
    registry::find(model_type).unwrap().build(&recipe.config, &weights).unwrap().language().unwrap()
}

/// Quantizes with MLX, as the reference did.
pub fn quantize(_: &str, values: &[f32], shape: &[usize], packing: &Packing) -> Packed {
    let shape: Vec<i32> = shape.iter().map(|&n| n as i32).collect();
    let weight = Array::from_slice(values, &shape).unwrap();
    let mode = Mode::from_name(&packing.mode).unwrap();
    let q = Quantized::quantize(&weight, Scheme { mode, bits: packing.bits, group_size: packing.group_size }).unwrap();
    let shape_of = |a: &Array| a.shape().iter().map(|&n| n as usize).collect::<Vec<_>>();
    let packed = RawTensor::u32(&shape_of(&q.packed), &q.packed.to_vec::<u32>().unwrap());
    let scales = match q.scales.dtype() {
        Dtype::F32 => RawTensor::f32(&shape_of(&q.scales), &q.scales.to_vec::<f32>().unwrap()),
        _ => RawTensor {
            dtype: safetensors::Dtype::U8,
            shape: shape_of(&q.scales),
            bytes: q.scales.to_vec::<u8>().unwrap(),
        },
    };
    let biases = q.biases.map(|b| RawTensor::f32(&shape_of(&b), &b.to_vec::<f32>().unwrap()));
    Packed { weight: packed, scales, biases }
}

/// Writes the checkpoint of a case.
pub fn write_case(case: &str, dir: &Path, shards: usize) -> Recipe {
    let recipe = Recipe::load(case);
    recipe.write_checkpoint(dir, shards, &mut quantize).unwrap();
    recipe
}

/// The configuration for a checkpoint without tokenizer, all in f32 like the goldens.
pub fn bare(dir: &Path) -> ModelConfiguration {
    ModelConfiguration::directory(dir).without_tokenizer().with_dtype(WeightDtype::F32)
}

/// Loads and waits.
pub fn load(engine: &Engine, configuration: ModelConfiguration) -> Result<Model> {
    engine.load(configuration, |_: &LoadEvent| Control::Continue).wait()
}

/// Generates and returns the tokens.
pub fn tokens(model: &Model, prompt: &[u32], options: GenerateOptions) -> Vec<u32> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let task = model
        .generate(prompt.to_vec(), options, move |event: &GenerationEvent| {
            if let GenerationEvent::Token { token, .. } = event {
                sender.send(token.id).unwrap();
            }
            Control::Continue
        })
        .unwrap();
    task.wait().unwrap();
    receiver.iter().collect()
}
