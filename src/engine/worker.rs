//! The engine's thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};

use std::sync::{Arc, Once};
use std::time::Duration;

use once_cell::sync::Lazy;
use parking_lot::{Mutex, ReentrantMutex};

use super::task::{Job, Step};
use crate::array::{Device, memory, set_device};
use crate::error::{Error, ErrorKind, Result};
use crate::models::LanguageModel;

/// One for each engine's thread, held while it works.
static WORKING: Mutex<Vec<Arc<ReentrantMutex<()>>>> = Mutex::new(Vec::new());

/// Holds all engines' threads where they are, forever. Runs when the process ends: MLX's own globals are destroyed
/// then, and a thread still freeing or computing would use them.
extern "C" fn hold_all() {
    let workers = WORKING.lock().clone();
    for worker in workers {
        // A step takes moments. A callback that ends the process holds its own lock, which may be taken again.
        if let Some(guard) = worker.try_lock_for(Duration::from_secs(5)) {
            std::mem::forget(guard);
        }
    }
}

/// Makes the end of the process call [`hold_all`] before it destroys what MLX has made so far. Called again once a
/// model has run, because MLX makes more on the way.
fn hold_at_exit(times: &'static Once) {
    times.call_once(|| crate::at_exit::register(hold_all));
}

static STARTED: Once = Once::new();
static LOADED: Once = Once::new();

type Start = Box<dyn FnOnce(&mut Worker) -> Box<dyn Job> + Send>;

enum Message {
    Start(Start),
    Unload(u64),
    /// The engine is gone: free everything and wait for the next one.
    Release,
}

/// Threads whose engine is gone. MLX keeps a worker for every thread that ever computed, so threads are used again
/// instead of ended.
static IDLE: Lazy<Mutex<Vec<Handle>>> = Lazy::new(Default::default);

/// The way to an engine's thread.
pub struct Handle {
    device: Device,
    sender: Sender<Message>,
}

impl Handle {
    /// An idle thread for this device, or a new one.
    pub fn acquire(device: Device) -> Result<Handle> {
        let mut idle = IDLE.lock();
        if let Some(i) = idle.iter().position(|h| h.device == device) {
            return Ok(idle.swap_remove(i));
        }
        drop(idle);
        let (sender, receiver) = channel();
        let (ready, is_ready) = channel();
        let again = sender.clone();
        std::thread::Builder::new()
            .name("mlx-engine".into())
            .spawn(move || {
                let result = set_device(device);
                let failed = result.is_err();
                let _ = ready.send(result);
                if !failed {
                    Worker::default().run(&receiver, || Handle { device, sender: again.clone() });
                }
            })
            .map_err(|e| Error::new(ErrorKind::Io, "cannot start the engine's thread").with_source(e))?;
        is_ready.recv().map_err(|_| Error::internal("the engine's thread ended while starting"))??;
        Ok(Handle { device, sender })
    }

    pub fn start(&self, start: Start) {
        // The thread outlives all handles: it keeps a sender to itself.
        let _ = self.sender.send(Message::Start(start));
    }

    pub fn unload(&self, id: u64) {
        let _ = self.sender.send(Message::Unload(id));
    }

    pub fn release(self) {
        let _ = self.sender.send(Message::Release);
    }
}

/// What lives on the engine's thread.
#[derive(Default)]
pub struct Worker {
    models: HashMap<u64, Rc<dyn LanguageModel>>,
    jobs: Vec<Box<dyn Job>>,
}

impl Worker {
    /// Serves messages and runs jobs in turns, forever. `handle` makes a handle for the idle list.
    fn run(&mut self, receiver: &Receiver<Message>, handle: impl Fn() -> Handle) {
        super::task::enter_engine_thread();
        let working = Arc::new(ReentrantMutex::new(()));
        WORKING.lock().push(working.clone());
        hold_at_exit(&STARTED);
        loop {
            let message = match self.jobs.is_empty() {
                true => receiver.recv().ok(),
                false => receiver.try_recv().ok(),
            };
            let _working = working.lock();
            match message {
                Some(Message::Start(start)) => self.admit(start),
                Some(Message::Unload(id)) => {
                    self.models.remove(&id);
                    memory::clear_cache();
                }
                Some(Message::Release) => {
                    // Tasks and models keep their engine alive, so nothing is left to run or to hold.
                    self.models.clear();
                    self.jobs.clear();
                    memory::clear_cache();
                    IDLE.lock().push(handle());
                }
                None => self.turn(),
            }
        }
    }

    /// Starts a job; a panic while starting drops what the closure held, which tells its observer.
    fn admit(&mut self, start: Start) {
        if let Ok(job) = catch_unwind(AssertUnwindSafe(|| start(self))) {
            self.jobs.push(job);
        }
    }

    /// One step of each job.
    fn turn(&mut self) {
        for mut job in std::mem::take(&mut self.jobs) {
            // A job that panicked is told so and dropped; its arrays go with it, the other jobs go on.
            let step = catch_unwind(AssertUnwindSafe(|| job.step(self)));
            match step {
                Ok(Step::Again) => self.jobs.push(job),
                Ok(Step::Done) => {}
                Err(payload) => {
                    let error = panic_error(&*payload);
                    let _ = catch_unwind(AssertUnwindSafe(|| job.panicked(error)));
                }
            }
        }
    }

    /// The model of this id.
    pub(crate) fn model(&self, id: u64) -> Result<Rc<dyn LanguageModel>> {
        self.models.get(&id).cloned().ok_or_else(|| Error::internal("the model is not on this engine"))
    }

    /// Keeps a model under an id.
    pub(crate) fn keep(&mut self, id: u64, model: Rc<dyn LanguageModel>) {
        self.models.insert(id, model);
        hold_at_exit(&LOADED);
    }
}

/// What a caught panic said.
pub(crate) fn panic_error(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Error::new(ErrorKind::Panic, format!("panic in the library: {text}"))
}
