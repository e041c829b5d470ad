//! Tasks that need no MLX: each runs on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use super::panic::panic_error;
use super::task::{Observer, Reporter, Task, enter_observed_thread};
use crate::error::{Error, Result};
use crate::threads;

/// How often a cancel is checked for.
const TICK: Duration = Duration::from_millis(20);
/// How long cancelled work may take to end.
const PATIENCE: Duration = Duration::from_millis(100);

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panic_error(&*payload)))
}

/// Starts `work` on a thread of its own, on which the observer is called. `what` is what messages call the task.
///
/// # Errors
/// If no thread can be started. The observer is dropped, `done` is not called.
pub(crate) fn background<E: 'static, T: Clone + Send + 'static>(
    what: &'static str,
    observer: impl Observer<E, T> + 'static,
    work: impl FnOnce(&mut Reporter<E, T>) -> Result<T> + Send + 'static,
) -> Result<Task<T>> {
    let (mut reporter, task) = Reporter::new(what, Box::new(observer));
    // Passed through a channel, so that it stays here if no thread can be started.
    let (sender, receiver) = sync_channel::<Reporter<E, T>>(1);
    let started = threads::spawn("mlx-background", None, move || {
        let Ok(mut reporter) = receiver.recv() else { return };
        enter_observed_thread();
        let result = guarded(|| work(&mut reporter));
        reporter.done(result);
    });
    match started {
        Ok(()) => {
            let _ = sender.send(reporter);
            Ok(task)
        }
        Err(error) => {
            reporter.reject();
            Err(error)
        }
    }
}

impl<E, T: Clone> Reporter<E, T> {
    /// Does work that nothing can interrupt, such as connecting, without keeping a cancel waiting: `cancel` makes it end
    /// soon, and where it does not, it ends later by itself, and what it finds is dropped.
    ///
    /// # Errors
    /// What `work` failed with; `Cancelled`; if the system gives no thread.
    pub fn interruptible<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<R> + Send + 'static,
        cancel: impl FnOnce(),
    ) -> Result<R> {
        let (sender, receiver) = channel();
        threads::spawn("mlx-request", None, move || {
            let _ = sender.send(guarded(work));
        })?;
        let (mut cancel, mut until) = (Some(cancel), None);
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the work was lost")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.is_cancelled()
                && let Some(cancel) = cancel.take()
            {
                cancel();
                until = Some(Instant::now() + PATIENCE);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::cancelled());
            }
        }
    }
}
