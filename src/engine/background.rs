//! Tasks that need no MLX: they run on a thread of their own, and a cancel ends them at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::task::{Observer, Reporter, Task, enter_engine_thread};
use crate::error::{Error, ErrorKind, Result};

/// How often a cancel is looked for.
const TICK: Duration = Duration::from_millis(20);
/// How long cancelled work may take to end by itself. Connecting cannot be interrupted; that thread ends later, and what
/// it finds is dropped.
const PATIENCE: Duration = Duration::from_millis(100);

/// Starts `work`; `cancel` makes it end soon.
///
/// # Errors
/// If the system gives no thread. The observer is dropped, `done` is not called.
pub(crate) fn background<E: 'static, T: Clone + Send + 'static>(
    name: &'static str,
    observer: impl Observer<E, T> + 'static,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    cancel: impl FnOnce() + Send + 'static,
) -> Result<Task<T>> {
    let no_thread = |e| Error::new(ErrorKind::Io, "cannot start a thread").with_source(e);
    let (sender, receiver) = channel();
    let (go, begin) = channel::<()>();
    let worker = thread::Builder::new().name(name.into());
    worker
        .spawn(move || {
            // Nothing is begun that nobody will hear of.
            if begin.recv().is_err() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(work));
            let _ = sender.send(result.unwrap_or_else(|payload| Err(super::panic_error(&*payload))));
        })
        .map_err(no_thread)?;
    let (mut reporter, task) = Reporter::new(Box::new(observer));
    let (handover, taken) = channel();
    let watcher = thread::Builder::new().name(name.into());
    let started = watcher.spawn(move || {
        let Ok(mut reporter): Result<Reporter<E, T>, _> = taken.recv() else { return };
        enter_engine_thread();
        let mut cancel = Some(cancel);
        let mut until = None;
        let result = loop {
            match receiver.recv_timeout(TICK) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Disconnected) => break Err(Error::internal("the work was lost")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if reporter.is_cancelled()
                && let Some(cancel) = cancel.take()
            {
                cancel();
                until = Some(Instant::now() + PATIENCE);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                break Err(Error::cancelled());
            }
        };
        reporter.done(result);
    });
    if let Err(e) = started {
        // Without `done`: the work was never accepted.
        reporter.reject();
        return Err(no_thread(e));
    }
    let _ = handover.send(reporter);
    let _ = go.send(());
    Ok(task)
}
