//! The thread that owns MLX, and the tasks that run on it.
//!
//! MLX's streams and arrays belong to the thread that made them, so each [`Engine`] has one thread where all its arrays
//! live. Handles send it jobs. A job advances in small steps (a few weight tensors, one chunk of a prompt, one token)
//! and jobs take turns, so several tasks share the thread and a cancel takes effect within one step. Prompts are processed
//! one at a time. Sequences of one model are decoded together, one token each per step.
//!
//! Observers of tasks are called on that thread: slow observers delay every task of the engine.
#![forbid(unsafe_code)]

mod background;
mod decoding;
mod exit;
mod generation;
mod logits;
mod model;
mod options;
mod panic;
mod prefix;
mod scheduler;
mod serving;
mod task;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use background::background;
pub(crate) use exit::call_host;
pub use logits::{Logits, ScoreEvent, Scores};
pub use model::Model;
pub use options::EngineOptions;
pub(crate) use panic::panic_error;
pub use task::{AnyTask, Control, Observer, Task};
pub(crate) use task::{Reporter, in_callback};
pub(crate) use worker::{Job, Step, Worker};

use crate::array::{Device, check_version};
use crate::error::Result;
use crate::fork::Process;
use prefix::Held;
use scheduler::{Demand, Place, Queue, Rules};
use worker::Handle;

/// Owns the thread where models live. Cloning shares it; it ends with the last clone, model and task.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Option<Handle>,
    device: Device,
    max_batch: usize,
    prefixes: Held,
    queue: Queue,
    max_queue: usize,
    process: Process,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// If MLX has no such device here or is another version than this build's, the system has no thread, `max_batch` is 0,
    /// or the process was forked from one that had made an engine.
    pub fn new(options: &EngineOptions) -> Result<Engine> {
        options.validate()?;
        // MLX's threads and statics are those of the process that computed first.
        static FIRST: OnceLock<Process> = OnceLock::new();
        let process = *FIRST.get_or_init(Process::current);
        process.check("an engine was made")?;
        check_version()?;
        let device = options.device.unwrap_or_else(Device::best);
        let max_batch = options.max_batch() as usize;
        let handle = Handle::acquire(device)?;
        let prefixes = Held::default();
        let budget = options.prefix_bytes.map_or_else(prefix::default_budget, |bytes| bytes as usize);
        let rules = Rules {
            max_sequences: options.max_sequences() as usize,
            token_gap: Duration::try_from_secs_f32(options.token_gap_seconds()).unwrap_or(Duration::MAX),
        };
        handle.configure(budget, prefixes.clone(), rules);
        let (queue, max_queue) = (Queue::default(), options.max_queue() as usize);
        let handle = Some(handle);
        Ok(Engine { inner: Arc::new(Inner { handle, device, max_batch, prefixes, queue, max_queue, process }) })
    }

    /// The device of this engine.
    pub fn device(&self) -> Device {
        self.inner.device
    }

    /// The most sequences that are decoded together.
    pub fn max_batch(&self) -> usize {
        self.inner.max_batch
    }

    /// Bytes of state from generations that are kept for later prompts.
    pub fn prefix_bytes(&self) -> usize {
        self.inner.prefixes.load(Ordering::Acquire)
    }

    /// Generations that wait to be begun.
    pub fn queued(&self) -> usize {
        self.inner.queue.len()
    }

    /// A place among them.
    fn enter_queue(&self) -> Result<Place> {
        self.inner.queue.enter(self.inner.max_queue)
    }

    /// Gives a generation to the engine's thread.
    fn submit(&self, demand: Demand) {
        self.handle().submit(demand);
    }

    /// Frees what generations left, before anything that is started from now on. A model that is unloaded frees its own.
    pub fn clear_prefixes(&self) {
        if self.inner.process.is_current() {
            self.handle().clear_prefixes();
        }
    }

    /// [`ErrorKind::Forked`](crate::ErrorKind::Forked) in a process that was forked after the engine was made.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.inner.process.check("the engine was made")
    }

    /// Runs `start` on the engine's thread; the job it returns takes turns with the others.
    pub(crate) fn spawn(&self, start: impl FnOnce(&mut Worker) -> Box<dyn Job> + Send + 'static) {
        self.handle().start(Box::new(start));
    }

    /// Forgets a model once nothing uses it.
    pub(crate) fn unload(&self, id: u64) {
        if self.inner.process.is_current() {
            self.handle().unload(id);
        }
    }

    fn handle(&self) -> &Handle {
        self.inner.handle.as_ref().expect("taken only on drop")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take().filter(|_| self.process.is_current()) {
            handle.release();
        }
    }
}
