//! Tasks: long work that was started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::generate::{mlxe_generation_stats_t, write_stats};
use super::{free, guard, mlxe_error_t, mlxe_model_t, mlxe_string_t, out, required};
use crate::engine::{Model, Task};
use crate::error::{Error, Result};
use crate::generate::GenerationStats;

/// Long work that was started: a load, a generation, a search, a download or other work on models. Free with
/// mlxe_task_free(), which neither cancels nor waits.
pub struct mlxe_task_t(pub(super) AnyTask);

pub(super) enum AnyTask {
    Load(Task<Model>),
    Generation(Task<GenerationStats>),
    Hub(HubTask),
}

/// Work on models, whose result is JSON.
pub(super) struct HubTask {
    pub task: Task<String>,
    pub paused: Arc<AtomicBool>,
}

/// Go on. What callbacks return.
pub const MLXE_CONTINUE: i32 = 0;
/// Cancel the task, as mlxe_task_cancel() does.
pub const MLXE_CANCEL: i32 = 1;

/// Asks a task to stop. It does within one step and then calls on_done. Any number of times, also after the end. Does
/// nothing if `task` is NULL.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_cancel(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    match unsafe { task.as_ref() } {
        Some(mlxe_task_t(AnyTask::Load(task))) => task.cancel(),
        Some(mlxe_task_t(AnyTask::Generation(task))) => task.cancel(),
        Some(mlxe_task_t(AnyTask::Hub(hub))) => hub.task.cancel(),
        None => {}
    }
}

/// Whether the task is over: no callback of it runs or will run. False if `task` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_is_done(task: *const mlxe_task_t) -> bool {
    // SAFETY: NULL or a live task, as documented.
    match unsafe { task.as_ref() } {
        Some(mlxe_task_t(AnyTask::Load(task))) => task.is_done(),
        Some(mlxe_task_t(AnyTask::Generation(task))) => task.is_done(),
        Some(mlxe_task_t(AnyTask::Hub(hub))) => hub.task.is_done(),
        None => false,
    }
}

/// Waits until the task is over and returns what it failed with: NULL for success. A cancelled load, search or estimate
/// fails with MLXE_ERROR_CANCELLED; a cancelled generation succeeds, and its statistics say that it was cancelled.
///
/// Any thread but the library's own: inside a callback it fails with MLXE_ERROR_REENTRANT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_wait(task: *const mlxe_task_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        match &unsafe { required(task, "task") }?.0 {
            AnyTask::Load(task) => task.wait().map(drop),
            AnyTask::Generation(task) => task.wait().map(drop),
            AnyTask::Hub(hub) => hub.task.wait().map(drop),
        }
    })
}

/// Like mlxe_task_wait(), but for `seconds` at most. `out_done` receives whether the task is over; while it is not,
/// the function returns NULL.
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
        let result = match &task.0 {
            AnyTask::Load(task) => task.wait_for(time).map(|r| r.map(drop)),
            AnyTask::Generation(task) => task.wait_for(time).map(|r| r.map(drop)),
            AnyTask::Hub(hub) => hub.task.wait_for(time).map(|r| r.map(drop)),
        };
        *done = result.is_some();
        result.unwrap_or(Ok(()))
    })
}

/// Waits for a load and returns its model, which the caller owns. Each call gives another handle of the same model.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is no load.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_model(
    task: *const mlxe_task_t,
    out_model: *mut *mut mlxe_model_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, place) = unsafe { (required(task, "task")?, out(out_model, "out_model")?) };
        let AnyTask::Load(task) = &task.0 else {
            return Err(Error::invalid_argument("task is not a load"));
        };
        *place = mlxe_model_t::into_raw(task.wait()?);
        Ok(())
    })
}

/// Waits for a generation and copies its statistics to `out_stats`, whose struct_size the caller has set.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is no generation.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_stats(
    task: *const mlxe_task_t,
    out_stats: *mut mlxe_generation_stats_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let task = unsafe { required(task, "task") }?;
        let AnyTask::Generation(task) = &task.0 else {
            return Err(Error::invalid_argument("task is not a generation"));
        };
        let stats = task.wait()?;
        // SAFETY: as documented.
        unsafe { write_stats(&stats, out_stats) }
    })
}

/// Waits for a task of a hub, a search or an estimate and writes its result, JSON as the function that started it says, to `out_json`, which the
/// caller owns.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is no such task.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_result(
    task: *const mlxe_task_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, place) = unsafe { (required(task, "task")?, out(out_json, "out_json")?) };
        let AnyTask::Hub(hub) = &task.0 else {
            return Err(Error::invalid_argument("task has no such result"));
        };
        *place = Box::into_raw(mlxe_string_t::new(hub.task.wait()?));
        Ok(())
    })
}

/// Pauses a task of a hub: a download closes its connections, other work stops where it is. Any number of times; does
/// nothing to other tasks, after the end, or if `task` is NULL. A paused task can be cancelled.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_pause(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    unsafe { set_paused(task, true) }
}

/// Lets a paused task go on.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_resume(task: *const mlxe_task_t) {
    // SAFETY: NULL or a live task, as documented.
    unsafe { set_paused(task, false) }
}

/// # Safety
/// `task` is NULL or live.
unsafe fn set_paused(task: *const mlxe_task_t, paused: bool) {
    // SAFETY: the caller's promise.
    if let Some(mlxe_task_t(AnyTask::Hub(hub))) = unsafe { task.as_ref() } {
        hub.paused.store(paused, Ordering::Release);
    }
}

/// Gives the task's handle up. The work goes on. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_free(task: *mut mlxe_task_t) {
    // SAFETY: NULL or an owned task, as documented.
    unsafe { free(task) }
}

/// Hands a started task to the caller, where it wants one.
///
/// # Safety
/// `place` is NULL or valid for writing.
pub(super) unsafe fn give(task: AnyTask, place: *mut *mut mlxe_task_t) -> Result<()> {
    // SAFETY: the caller's promise.
    if let Some(place) = unsafe { place.as_mut() } {
        *place = Box::into_raw(Box::new(mlxe_task_t(task)));
    }
    Ok(())
}
