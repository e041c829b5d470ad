//! Long work: how it is run, watched, cancelled and waited for.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Worker;
use crate::error::{Error, ErrorKind, Result};

/// What an observer wants after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Cancel the task, as [`Task::cancel`] does.
    Cancel,
}

/// Watches a task. Called on the engine's thread, never by two threads at once.
///
/// `done` is called exactly once and is the last call; then the observer is dropped. This holds for tasks that end
/// well, fail, are cancelled, or panic.
pub trait Observer<E, T>: Send {
    /// Something happened.
    fn event(&mut self, event: &E) -> Control;

    /// The task is over.
    fn done(&mut self, result: &Result<T>) {
        let _ = result;
    }
}

/// A closure watches events only.
impl<E, T, F: FnMut(&E) -> Control + Send> Observer<E, T> for F {
    fn event(&mut self, event: &E) -> Control {
        self(event)
    }
}

thread_local! {
    static ENGINE_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one where observers are called.
pub(super) fn enter_engine_thread() {
    ENGINE_THREAD.set(true);
}

/// Whether this code runs on an engine's thread, as observers do.
pub(crate) fn in_callback() -> bool {
    ENGINE_THREAD.get()
}

/// A piece of long work that was started. Dropping the handle neither cancels nor detaches anything: the work goes on.
pub struct Task<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    cancelled: Arc<AtomicBool>,
    result: Mutex<Option<Result<T>>>,
    done: Condvar,
}

impl<T> Clone for Task<T> {
    fn clone(&self) -> Self {
        Task { shared: self.shared.clone() }
    }
}

impl<T: Clone> Task<T> {
    /// Asks the task to stop; it does within one step. Any thread, any number of times, also after the end.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
    }

    /// Whether the task is over.
    pub fn is_done(&self) -> bool {
        self.shared.result.lock().is_some()
    }

    /// Waits for the end and returns the result. After it the observer is no longer called.
    ///
    /// # Errors
    /// What the task failed with; [`ErrorKind::Reentrant`] when called from an observer.
    pub fn wait(&self) -> Result<T> {
        if in_callback() {
            return Err(Error::new(ErrorKind::Reentrant, "waiting for a task inside a callback would never end"));
        }
        let mut result = self.shared.result.lock();
        while result.is_none() {
            self.shared.done.wait(&mut result);
        }
        result.clone().expect("there is a result")
    }

    /// Like [`wait`](Self::wait), but gives up after a while and returns `None`.
    pub fn wait_for(&self, at_most: Duration) -> Option<Result<T>> {
        if in_callback() {
            return Some(self.wait());
        }
        let mut result = self.shared.result.lock();
        if result.is_none() {
            self.shared.done.wait_while_for(&mut result, |r| r.is_none(), at_most);
        }
        result.clone()
    }
}

/// What one step of a job did.
pub(crate) enum Step {
    /// There is more to do.
    Again,
    /// There will be more to do: work elsewhere is under way.
    Waiting,
    /// The job has reported its end.
    Done,
}

/// Work on the engine's thread.
pub(crate) trait Job {
    /// Does a little and returns.
    fn step(&mut self, worker: &mut Worker) -> Step;

    /// The last step panicked; the job will be dropped.
    fn panicked(&mut self, error: Error);
}

/// The job's end of a task: tells the observer and whoever waits.
pub(crate) struct Reporter<E, T: Clone> {
    observer: Option<Box<dyn Observer<E, T>>>,
    shared: Arc<Shared<T>>,
}

impl<E, T: Clone> Reporter<E, T> {
    /// A reporter and the task it reports for.
    pub fn new(observer: Box<dyn Observer<E, T>>) -> (Self, Task<T>) {
        let shared = Arc::new(Shared { cancelled: Arc::default(), result: Mutex::new(None), done: Condvar::new() });
        (Reporter { observer: Some(observer), shared: shared.clone() }, Task { shared })
    }

    /// The task's end of the work: `work` runs on a thread of its own, on which the observer is called.
    ///
    /// # Errors
    /// If the system gives no thread; then the observer is only dropped.
    pub fn spawn(
        observer: Box<dyn Observer<E, T>>,
        work: impl FnOnce(&mut Self) -> Result<T> + Send + 'static,
    ) -> Result<Task<T>>
    where
        E: 'static,
        T: Send + 'static,
    {
        let (mut reporter, task) = Self::new(observer);
        // Given over through a channel, so that it comes back where there is no thread.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let run = move || {
            enter_engine_thread();
            let Ok(mut reporter): std::result::Result<Self, _> = receiver.recv() else { return };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut reporter)));
            reporter.done(result.unwrap_or_else(|payload| Err(super::panic_error(&*payload))));
        };
        match std::thread::Builder::new().name("mlx-hub".into()).spawn(run) {
            Ok(_) => {
                let _ = sender.send(reporter);
                Ok(task)
            }
            Err(e) => {
                drop(reporter.observer.take());
                Err(Error::new(ErrorKind::Io, "cannot start a thread").with_source(e))
            }
        }
    }

    /// Tells the observer; its wish to cancel takes effect like any cancel.
    pub fn event(&mut self, event: &E) {
        if let Some(observer) = &mut self.observer
            && observer.event(event) == Control::Cancel
        {
            self.shared.cancelled.store(true, Ordering::Release);
        }
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// The flag behind [`is_cancelled`](Self::is_cancelled).
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        self.shared.cancelled.clone()
    }

    /// Drops the observer without a word: the work was not accepted.
    pub fn reject(&mut self) {
        self.observer = None;
    }

    /// Ends the task: `done`, drop of the observer, then whoever waits. Later calls do nothing.
    pub fn done(&mut self, result: Result<T>) {
        let Some(mut observer) = self.observer.take() else { return };
        if super::worker::is_exiting() {
            // What the observer knows may be gone; whoever waits still has to be told.
            std::mem::forget(observer);
            *self.shared.result.lock() = Some(result);
            self.shared.done.notify_all();
            return;
        }
        // A panicking observer must not keep others waiting.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            observer.done(&result);
            drop(observer);
        }));
        *self.shared.result.lock() = Some(result);
        self.shared.done.notify_all();
    }
}

impl<E, T: Clone> Drop for Reporter<E, T> {
    /// A job that ends without a word has panicked somewhere, or the process ends.
    fn drop(&mut self) {
        self.done(Err(match super::worker::is_exiting() {
            true => Error::cancelled(),
            false => Error::new(ErrorKind::Panic, "the task ended without a result"),
        }));
    }
}
