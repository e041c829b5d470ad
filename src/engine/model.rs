//! A handle to a loaded model.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::{Engine, Observer, Reporter, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::load::{LoadEvent, LoadJob, ModelConfiguration};
use crate::tokenizer::Tokenizer;

/// Facts about a loaded model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelInfo {
    /// The id or directory it was loaded from.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// The `model_type` whose code runs it, if it is another.
    pub alias_of: Option<&'static str>,
    /// What it is for: `text`.
    pub kind: &'static str,
    /// Weights, counted as if they were not quantized.
    pub parameters: u64,
    /// How most of its weights are quantized.
    pub quantization: Option<QuantizationInfo>,
    /// The longest sequence it was made for, in tokens.
    pub context_length: Option<i32>,
    /// Rows of its output layer.
    pub vocab_size: i32,
    /// Transformer layers.
    pub layers: Option<u64>,
    /// Features of the residual stream.
    pub hidden_size: Option<u64>,
    /// Bytes of its weight files.
    pub weight_bytes: u64,
    /// How many weight files there are.
    pub weight_files: usize,
    /// Whether it has a chat template.
    pub has_chat_template: bool,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Where it computes: `cpu` or `gpu`.
    pub device: &'static str,
    /// Seconds that loading took.
    pub load_seconds: f64,
}

/// How weights are quantized.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizationInfo {
    /// `affine`, `mxfp4`, ...
    pub mode: &'static str,
    /// Bits a weight.
    pub bits: i32,
    /// Weights that share a scale.
    pub group_size: i32,
}

/// A loaded model. Cloning shares it; the weights are freed with the last clone and generation.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    id: u64,
    tokenizer: Option<Tokenizer>,
    info: ModelInfo,
    config: Value,
    poisoned: AtomicBool,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Engine {
    /// Starts loading a model. `observer` hears of every phase; the task's result is the model.
    pub fn load(
        &self,
        configuration: ModelConfiguration,
        observer: impl Observer<LoadEvent, Model> + 'static,
    ) -> Task<Model> {
        let (reporter, task) = Reporter::new(Box::new(observer));
        let engine = self.clone();
        self.spawn(move |_| Box::new(LoadJob::new(engine, configuration, reporter)));
        task
    }
}

impl Model {
    /// A handle to the model that the engine's thread will keep under the returned id.
    pub(crate) fn new(
        engine: Engine,
        tokenizer: Option<Tokenizer>,
        info: ModelInfo,
        config: Value,
    ) -> (Model, u64) {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let poisoned = AtomicBool::new(false);
        (Model { inner: Arc::new(Inner { engine, id, tokenizer, info, config, poisoned }) }, id)
    }

    /// The engine it lives on.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Its tokenizer, if it was loaded with one. Can be used from any thread.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.inner.tokenizer.as_ref()
    }

    /// Facts about it.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Its `config.json`.
    pub fn config(&self) -> &Value {
        &self.inner.config
    }

    pub(crate) fn id(&self) -> u64 {
        self.inner.id
    }

    /// After a panic nothing is known about the model's state.
    pub(crate) fn poison(&self) {
        self.inner.poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn check_poison(&self) -> Result<()> {
        match self.inner.poisoned.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Poisoned, "an earlier use of this model panicked; load it again")),
            false => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.unload(self.id);
    }
}
