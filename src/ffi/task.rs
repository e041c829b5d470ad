//! Tasks: long work that was started.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{free, guard, mlxe_error_t, out, required};
use crate::engine::{AnyTask, Logits, Model, Scores, Task};
use crate::error::{Error, Result};
use crate::generate::GenerationStats;

/// Long-running work: a load, a generation, a score, a search, an estimate, a download or other work on models. It can be
/// cancelled, waited for and freed; its result is passed to on_done and returned by the function for its kind
/// (mlxe_task_kind()): mlxe_task_model(), mlxe_task_stats(), mlxe_task_result(), mlxe_task_scores() or
/// mlxe_task_logits(). Free with mlxe_task_free(), which neither cancels nor waits.
pub struct mlxe_task_t(Box<dyn AnyTask>);

impl mlxe_task_t {
    /// The task whose result is a `T`; `wanted` says what that would be, for the error where it is not.
    ///
    /// # Safety
    /// `task` is NULL or live for `'a`.
    pub(super) unsafe fn of<'a, T: 'static>(task: *const Self, wanted: &str) -> Result<&'a Task<T>> {
        // SAFETY: the caller's promise.
        let task = unsafe { required(task, "task") }?;
        let any: &dyn Any = &*task.0;
        let mistaken = || Error::invalid_argument(format!("task is {}, not {wanted}", task.0.what()));
        any.downcast_ref().ok_or_else(mistaken)
    }

    /// Hands a started task to the caller, where it wants one.
    ///
    /// # Safety
    /// `place` is NULL or valid for writing.
    pub(super) unsafe fn give(task: impl AnyTask, place: *mut *mut mlxe_task_t) {
        // SAFETY: the caller's promise.
        if let Some(place) = unsafe { place.as_mut() } {
            *place = Box::into_raw(Box::new(mlxe_task_t(Box::new(task))));
        }
    }
}

/// A task of a later version's kind.
pub const MLXE_TASK_OTHER: i32 = 0;
/// A load: mlxe_task_model() returns its result.
pub const MLXE_TASK_LOAD: i32 = 1;
/// A generation: mlxe_task_stats() returns its result.
pub const MLXE_TASK_GENERATION: i32 = 2;
/// Work on models, a search or an estimate: mlxe_task_result() returns its result.
pub const MLXE_TASK_HUB: i32 = 3;
/// A score: mlxe_task_scores() returns its result.
pub const MLXE_TASK_SCORE: i32 = 4;
/// Logits: mlxe_task_logits() returns them.
pub const MLXE_TASK_LOGITS: i32 = 5;

/// What a task is, and so which function returns its result: MLXE_TASK_*; MLXE_TASK_OTHER if `task` is NULL. Later
/// versions may have more kinds.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_kind(task: *const mlxe_task_t) -> i32 {
    // SAFETY: NULL or a live task, as documented.
    let Some(task) = (unsafe { task.as_ref() }) else { return MLXE_TASK_OTHER };
    let any: &dyn Any = &*task.0;
    if any.is::<Task<Model>>() {
        MLXE_TASK_LOAD
    } else if any.is::<Task<GenerationStats>>() {
        MLXE_TASK_GENERATION
    } else if any.is::<Task<String>>() {
        MLXE_TASK_HUB
    } else if any.is::<Task<Arc<Scores>>>() {
        MLXE_TASK_SCORE
    } else if any.is::<Task<Arc<Logits>>>() {
        MLXE_TASK_LOGITS
    } else {
        MLXE_TASK_OTHER
    }
}

/// Continue. Returned by callbacks.
pub const MLXE_CONTINUE: i32 = 0;
/// Cancel the task, as mlxe_task_cancel() does.
pub const MLXE_CANCEL: i32 = 1;

/// Asks a task to stop. It stops within one step and then calls on_done. May be called repeatedly, and after the end.
/// Does nothing if `task` is NULL.
///
/// Any thread, also inside callbacks and signal handlers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_cancel(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    if let Some(task) = unsafe { task.as_ref() } {
        task.0.cancel();
    }
}

/// Whether the task is over: no callback of it runs or will run. False if `task` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_is_done(task: *const mlxe_task_t) -> bool {
    // SAFETY: NULL or a live task, as documented.
    unsafe { task.as_ref() }.is_some_and(|task| task.0.is_done())
}

/// Waits until the task is over and returns its error, or NULL for success. A cancelled task fails with
/// MLXE_ERROR_CANCELLED, but a cancelled generation succeeds, and its statistics say that it was cancelled.
///
/// Any thread but the library's own: inside a callback it fails with MLXE_ERROR_REENTRANT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_wait(task: *const mlxe_task_t) -> *mut mlxe_error_t {
    // SAFETY: as documented.
    guard(|| unsafe { required(task, "task") }?.0.wait())
}

/// Like mlxe_task_wait(), but for `seconds` at most. On success `out_done` receives whether
/// the task is over. An error is the task's own, which is over then, or MLXE_ERROR_REENTRANT or MLXE_ERROR_FORKED, which
/// say that it cannot be waited for here; `out_done` is then not written.
///
/// Any thread but the library's own.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_wait_for(
    task: *const mlxe_task_t,
    seconds: f64,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, done) = unsafe { (required(task, "task")?, out(out_done, "out_done")?) };
        let time = Duration::try_from_secs_f64(seconds)
            .map_err(|_| Error::invalid_argument(format!("seconds is {seconds}")))?;
        let result = task.0.wait_for(time).transpose()?;
        *done = result.is_some();
        Ok(())
    })
}

/// Pauses a task that downloads or works on models: a download closes its connections, other work stops where it is.
/// May be called repeatedly; does nothing to other tasks, to a load that downloads nothing, after the end, or if `task`
/// is NULL. A paused task can be cancelled.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_pause(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    if let Some(task) = unsafe { task.as_ref() } {
        task.0.pause();
    }
}

/// Resumes a paused task.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_resume(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    if let Some(task) = unsafe { task.as_ref() } {
        task.0.resume();
    }
}

/// Releases the handle. The work continues. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_free(task: *mut mlxe_task_t) {
    // SAFETY: NULL or an owned task, as documented.
    unsafe { free(task) }
}
