//! Tasks: how long work is observed, cancelled, paused and waited for.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::exit::{call_host, is_exiting};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::Process;

/// What to do after an event, as the observer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Continue.
    Continue,
    /// Cancel the task, as [`Task::cancel`] does.
    Cancel,
}

/// Observes a task. Called on the thread that does the work, never by two threads at once.
///
/// `done` is called exactly once and is the last call; then the observer is dropped. This holds for tasks that succeed,
/// fail, are cancelled, or panic.
pub trait Observer<E, T>: Send {
    /// Something happened.
    fn event(&mut self, event: &E) -> Control;

    /// The task is over.
    fn done(&mut self, result: &Result<T>) {
        let _ = result;
    }
}

/// A closure observes events only.
impl<E, T, F: FnMut(&E) -> Control + Send> Observer<E, T> for F {
    fn event(&mut self, event: &E) -> Control {
        self(event)
    }
}

thread_local! {
    static CALLS_OBSERVERS: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one where observers are called.
pub(super) fn enter_observed_thread() {
    CALLS_OBSERVERS.set(true);
}

/// Whether this code runs on a thread where observers are called: there, waiting for a task might never end.
pub(crate) fn in_callback() -> bool {
    CALLS_OBSERVERS.get()
}

/// A piece of long work. Dropping the handle does not cancel it: the work continues.
pub struct Task<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    what: &'static str,
    process: Process,
    cancelled: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    result: Mutex<Option<Result<T>>>,
    done: Condvar,
}

impl<T> Clone for Task<T> {
    fn clone(&self) -> Self {
        Task { shared: self.shared.clone() }
    }
}

impl<T: Clone> Task<T> {
    /// What the task does, for messages: `a load`, `a generation`, `a download`, ...
    pub fn what(&self) -> &'static str {
        self.shared.what
    }

    /// Asks the task to stop; it does within one step. Any thread, any number of times, also after the end.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
    }

    /// Pauses a task that downloads, or works on models: a download closes its connections, other work stops where it is.
    /// Does nothing to other tasks and after the end. A paused task can be cancelled.
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::Release);
    }

    /// Resumes a paused task.
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::Release);
    }

    /// Whether the task is over.
    pub fn is_done(&self) -> bool {
        // In a forked process nobody would unlock it.
        !self.shared.process.is_current() || self.shared.result.lock().is_some()
    }

    fn check_process(&self) -> Result<()> {
        self.shared.process.check("the task was started")
    }

    /// Waits for the end and returns the result. After it the observer is no longer called.
    ///
    /// # Errors
    /// What the task failed with; [`ErrorKind::Reentrant`] when called from an observer, [`ErrorKind::Forked`] in a process
    /// that was forked after the start.
    pub fn wait(&self) -> Result<T> {
        if in_callback() {
            return Err(Error::new(ErrorKind::Reentrant, "waiting for a task inside a callback would never end"));
        }
        self.check_process()?;
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
        if let Err(error) = self.check_process() {
            return Some(Err(error));
        }
        let mut result = self.shared.result.lock();
        if result.is_none() {
            self.shared.done.wait_while_for(&mut result, |r| r.is_none(), at_most);
        }
        result.clone()
    }
}

/// A task, whatever its result is: what all tasks can do. `dyn AnyTask` becomes the `Task<T>` again by `dyn Any`.
pub trait AnyTask: Any + Send + Sync {
    /// [`Task::what`].
    fn what(&self) -> &'static str;
    /// [`Task::cancel`].
    fn cancel(&self);
    /// [`Task::pause`].
    fn pause(&self);
    /// [`Task::resume`].
    fn resume(&self);
    /// [`Task::is_done`].
    fn is_done(&self) -> bool;
    /// [`Task::wait`].
    ///
    /// # Errors
    /// As there.
    fn wait(&self) -> Result<()>;
    /// [`Task::wait_for`].
    fn wait_for(&self, at_most: Duration) -> Option<Result<()>>;
}

impl<T: Clone + Send + 'static> AnyTask for Task<T> {
    fn what(&self) -> &'static str {
        self.what()
    }

    fn cancel(&self) {
        self.cancel();
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        self.resume();
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }

    fn wait(&self) -> Result<()> {
        self.wait().map(drop)
    }

    fn wait_for(&self, at_most: Duration) -> Option<Result<()>> {
        self.wait_for(at_most).map(|result| result.map(drop))
    }
}

/// The work's end of a task: tells the observer and whoever waits.
pub(crate) struct Reporter<E, T: Clone> {
    observer: Option<Box<dyn Observer<E, T>>>,
    shared: Arc<Shared<T>>,
}

impl<E, T: Clone> Reporter<E, T> {
    /// A reporter and the task it reports for. `what` is said in messages: `a load`, `a generation`, ...
    pub fn new(what: &'static str, observer: Box<dyn Observer<E, T>>) -> (Self, Task<T>) {
        let shared = Arc::new(Shared {
            what,
            process: Process::current(),
            cancelled: Arc::default(),
            paused: Arc::default(),
            result: Mutex::new(None),
            done: Condvar::new(),
        });
        (Reporter { observer: Some(observer), shared: shared.clone() }, Task { shared })
    }

    /// Tells the observer; its wish to cancel takes effect like any cancel.
    pub fn event(&mut self, event: &E) {
        if let Some(observer) = &mut self.observer
            && call_host(|| observer.event(event)) == Control::Cancel
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

    /// Whether the task is to be paused.
    pub fn wants_pause(&self) -> bool {
        self.shared.paused.load(Ordering::Acquire)
    }

    /// The flag behind [`wants_pause`](Self::wants_pause).
    pub fn pause_flag(&self) -> Arc<AtomicBool> {
        self.shared.paused.clone()
    }

    /// Drops the observer without a word: the work was not accepted.
    pub fn reject(&mut self) {
        self.observer = None;
    }

    /// Ends the task: `done`, drop of the observer, then whoever waits. Later calls do nothing.
    pub fn done(&mut self, result: Result<T>) {
        let Some(mut observer) = self.observer.take() else { return };
        if is_exiting() {
            // What the observer knows may be gone; whoever waits still has to be told.
            std::mem::forget(observer);
            *self.shared.result.lock() = Some(result);
            self.shared.done.notify_all();
            return;
        }
        // A panicking observer must not keep others waiting.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            call_host(|| {
                observer.done(&result);
                drop(observer);
            });
        }));
        *self.shared.result.lock() = Some(result);
        self.shared.done.notify_all();
    }
}

impl<E, T: Clone> Drop for Reporter<E, T> {
    /// Work that ends without a word has panicked somewhere, or the process ends.
    fn drop(&mut self) {
        self.done(Err(match is_exiting() {
            true => Error::cancelled(),
            false => Error::new(ErrorKind::Panic, "the task ended without a result"),
        }));
    }
}
