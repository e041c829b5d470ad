//! A handle to a loaded model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use super::{Engine, Job, Observer, Reporter, Step, Task, Worker};
use crate::array::memory;
use crate::cache::CacheOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::generate::GenerateOptions;
use crate::load::{Given, LoadEvent, Loaded, Loader, ModelConfiguration, ModelInfo};
use crate::models::shape::ModelShape;
use crate::tokenizer::Tokenizer;

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
    unloaded: AtomicBool,
    shape: ModelShape,
    /// Bytes of a number of the activations.
    element_bytes: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Engine {
    /// Starts loading a model. `observer` hears of every phase; the task's result is the model.
    pub fn load(
        &self,
        configuration: ModelConfiguration,
        observer: impl Observer<LoadEvent, Model> + 'static,
    ) -> Task<Model> {
        let (mut reporter, task) = Reporter::new("a load", Box::new(observer));
        if let Err(error) = self.check_process() {
            reporter.done(Err(error));
            return task;
        }
        let engine = self.clone();
        self.spawn(move |_| {
            let loader = Loader::new(configuration, reporter.cancel_flag(), reporter.pause_flag());
            Box::new(LoadJob { engine, loader, reporter })
        });
        task
    }
}

impl Model {
    /// Keeps a loaded model on the engine's thread and gives a handle to it.
    fn publish(loaded: Loaded, engine: Engine, worker: &mut Worker) -> Model {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let Loaded { network, tokenizer, info, config, shape, element_bytes } = loaded;
        worker.keep(id, network);
        let inner = Inner {
            engine,
            id,
            tokenizer,
            info,
            config,
            poisoned: AtomicBool::new(false),
            unloaded: AtomicBool::new(false),
            shape,
            element_bytes,
        };
        Model { inner: Arc::new(inner) }
    }

    /// Unloads it although handles are left: generations of it end as cancelled, and it can compute no more. When the task
    /// is over, its memory is free. The result is by how many bytes that of the process fell.
    pub fn unload(&self, observer: impl Observer<(), u64> + 'static) -> Task<u64> {
        let (mut reporter, task) = Reporter::new("an unload", Box::new(observer));
        if let Err(error) = self.inner.engine.check_process() {
            reporter.done(Err(error));
            return task;
        }
        self.inner.unloaded.store(true, Ordering::Release);
        let id = self.id();
        self.inner.engine.spawn(move |_| Box::new(UnloadJob { id, reporter }));
        task
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

    /// What a generation with `options` would use: the value of each that is not set, as far as it is known before.
    pub fn effective_options(&self, options: &GenerateOptions) -> GenerateOptions {
        let context = options.max_context.or(self.info().context_length);
        GenerateOptions { max_context: context, ..options.with_defaults() }
    }

    /// Its `config.json`.
    pub fn config(&self) -> &Value {
        &self.inner.config
    }

    /// Bytes of a sequence's state after so many positions, estimated.
    pub(super) fn state_bytes(&self, positions: usize, options: &CacheOptions) -> u64 {
        let Inner { shape, element_bytes, engine, .. } = &*self.inner;
        let given = Given { shape, device: engine.device(), weights: 0, element_bytes: *element_bytes };
        given.state(positions as u64, options)
    }

    pub(crate) fn id(&self) -> u64 {
        self.inner.id
    }

    /// After a panic nothing is known about the model's state.
    pub(crate) fn poison(&self) {
        self.inner.poisoned.store(true, Ordering::Release);
    }

    /// Whether it can compute: not after a panic, of which nothing is known, not when it is unloaded, and not in a forked
    /// process.
    pub(crate) fn check_usable(&self) -> Result<()> {
        self.inner.engine.check_process()?;
        if self.inner.unloaded.load(Ordering::Acquire) {
            return Err(Error::invalid_argument(format!("{} is unloaded", self.info().name)));
        }
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

/// The end of a model, before that of its handles.
struct UnloadJob {
    id: u64,
    reporter: Reporter<(), u64>,
}

impl Job for UnloadJob {
    fn step(&mut self, worker: &mut Worker) -> Step {
        let before = memory::active();
        worker.forget(self.id);
        self.reporter.done(Ok(before.saturating_sub(memory::active()) as u64));
        Step::Done
    }

    fn panicked(&mut self, error: Error) {
        self.reporter.done(Err(error));
    }
}

/// A load as a task.
struct LoadJob {
    engine: Engine,
    loader: Loader,
    reporter: Reporter<LoadEvent, Model>,
}

impl LoadJob {
    fn fail(&mut self, error: Error) {
        self.loader.fail(&error, &mut |event| self.reporter.event(event));
        self.reporter.done(Err(error));
        self.loader.discard();
    }
}

impl Job for LoadJob {
    fn step(&mut self, worker: &mut Worker) -> Step {
        match self.loader.advance(&mut |event| self.reporter.event(event)) {
            Ok(None) if self.loader.is_downloading() => return Step::Waiting,
            Ok(None) => return Step::Again,
            Ok(Some(loaded)) => {
                let model = Model::publish(loaded, self.engine.clone(), worker);
                self.loader.ready(&mut |event| self.reporter.event(event));
                self.reporter.done(Ok(model));
            }
            Err(error) => self.fail(error),
        }
        Step::Done
    }

    fn panicked(&mut self, error: Error) {
        self.fail(error);
    }
}
