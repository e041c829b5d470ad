//! Events of loads and of work on models that are pulled: callbacks of the library that keep what they are told.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::copies::{mlxe_load_event_clone, mlxe_load_event_free, mlxe_progress_clone, mlxe_progress_free};
use super::options;
use super::queue::{Queue, Taken, Wait};
use super::{
    MLXE_CONTINUE, free, guard, mlxe_error_t, mlxe_hub_callbacks_t, mlxe_load_callbacks_t, mlxe_load_event_t,
    mlxe_model_free, mlxe_model_t, mlxe_progress_t, out, required,
};
use crate::error::{Error, Result};

/// As many events wait at most before one that says the same, only later, takes the place of the one before it.
const MANY: usize = 256;

/// An event of C that can be copied.
trait Kept: Sized {
    /// # Safety
    /// `event` is valid.
    unsafe fn copy(event: *const Self) -> *mut Self;
    /// # Safety
    /// `event` came from `copy`, and is not used again.
    unsafe fn free(event: *mut Self);
    /// Whether this event makes one before it superfluous.
    fn replaces(&self, before: &Self) -> bool;
}

impl Kept for mlxe_load_event_t {
    unsafe fn copy(event: *const Self) -> *mut Self {
        // SAFETY: the caller's promise.
        unsafe { mlxe_load_event_clone(event) }
    }

    unsafe fn free(event: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { mlxe_load_event_free(event) }
    }

    fn replaces(&self, before: &Self) -> bool {
        self.phase == before.phase
    }
}

impl Kept for mlxe_progress_t {
    unsafe fn copy(event: *const Self) -> *mut Self {
        // SAFETY: the caller's promise.
        unsafe { mlxe_progress_clone(event) }
    }

    unsafe fn free(event: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { mlxe_progress_free(event) }
    }

    fn replaces(&self, before: &Self) -> bool {
        self.stage == before.stage && self.is_paused == before.is_paused
    }
}

/// A copy of an event, freed with the value.
struct Event<E: Kept>(*mut E);

// SAFETY: the only owner of memory that nothing else refers to.
unsafe impl<E: Kept> Send for Event<E> {}

impl<E: Kept> Drop for Event<E> {
    fn drop(&mut self) {
        // SAFETY: made by `copy`, freed once.
        unsafe { E::free(self.0) }
    }
}

/// The host's end.
struct Events<E: Kept> {
    queue: Arc<Queue<Event<E>>>,
    /// The last event that was taken.
    current: Mutex<Option<Event<E>>>,
}

impl<E: Kept> Events<E> {
    /// With the pointer that the callbacks are given.
    fn new() -> (Self, *mut c_void) {
        let queue = Arc::new(Queue::new());
        let user_data = Arc::into_raw(queue.clone()).cast_mut().cast();
        (Events { queue, current: Mutex::default() }, user_data)
    }

    /// Writes the next event; returns whether that was the end.
    ///
    /// # Safety
    /// `out_event` is NULL or valid for writing.
    unsafe fn take(&self, wait: Wait, out_event: *mut *const E) -> Result<bool> {
        // SAFETY: the caller's promise.
        let place = unsafe { out(out_event, "out_event") }?;
        let taken = self.queue.take(wait)?;
        let end = matches!(taken, Taken::End);
        *place = match taken {
            Taken::Event(event) => self.current.lock().insert(event).0,
            Taken::Nothing | Taken::End => std::ptr::null(),
        };
        Ok(end)
    }
}

/// # Safety
/// `user_data` is that of [`Events::new`], and not dropped.
unsafe fn queue<'a, E: Kept>(user_data: *mut c_void) -> &'a Queue<Event<E>> {
    // SAFETY: the caller's promise.
    unsafe { &*user_data.cast::<Queue<Event<E>>>() }
}

unsafe extern "C" fn on_event<E: Kept>(user_data: *mut c_void, event: *const E) -> i32 {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the library calls its own callback, with a valid event.
        let (queue, copy) = unsafe { (queue::<E>(user_data), E::copy(event)) };
        if copy.is_null() {
            return;
        }
        // SAFETY: both are copies that are there.
        queue.push(Event(copy), |count, last| unsafe { count >= MANY && (&*copy).replaces(&*last.0) });
    }));
    MLXE_CONTINUE
}

/// # Safety
/// As for [`queue`]; `error` is NULL or valid.
unsafe fn end<E: Kept>(user_data: *mut c_void, error: *const mlxe_error_t) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        let (queue, error) = unsafe { (queue::<E>(user_data), error.as_ref()) };
        queue.end(error.map_or(Ok(()), |error| Err(error.to_error())));
    }));
}

unsafe extern "C" fn loaded(user_data: *mut c_void, model: *mut mlxe_model_t, error: *const mlxe_error_t) {
    // SAFETY: the library calls its own callback. The host has the task, which gives another handle.
    unsafe {
        mlxe_model_free(model);
        end::<mlxe_load_event_t>(user_data, error);
    }
}

unsafe extern "C" fn worked(user_data: *mut c_void, _: *const std::ffi::c_char, error: *const mlxe_error_t) {
    // SAFETY: the library calls its own callback.
    unsafe { end::<mlxe_progress_t>(user_data, error) }
}

unsafe extern "C" fn dropped<E: Kept>(user_data: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: from `Events::new`; the last call of the callbacks.
        let queue = unsafe { Arc::from_raw(user_data.cast_const().cast::<Queue<Event<E>>>()) };
        queue.end(Err(Error::invalid_argument("the task was not started")));
    }));
}

/// Events of a load that are pulled. Free with mlxe_load_events_free().
pub struct mlxe_load_events_t(Events<mlxe_load_event_t>);

/// Makes callbacks that keep the events of a load until they are taken, for programs without callbacks and for event
/// loops.
///
/// `out_callbacks`, whose struct_size must be set, receives the callbacks: pass them to one mlxe_load_start() or
/// mlxe_load(), unchanged; a model that is loaded is then returned by mlxe_task_model(). `out_events` receives the
/// events, which the caller owns.
///
/// The load does not wait for events to be taken. Where hundreds wait, those that only tell how far a phase is are
/// merged.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_new(
    out_callbacks: *mut mlxe_load_callbacks_t,
    out_events: *mut *mut mlxe_load_events_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let place = unsafe { out(out_events, "out_events") }?;
        let (events, user_data) = Events::new();
        let callbacks = mlxe_load_callbacks_t {
            struct_size: size_of::<mlxe_load_callbacks_t>(),
            user_data,
            on_event: Some(on_event::<mlxe_load_event_t>),
            on_done: Some(loaded),
            drop: Some(dropped::<mlxe_load_event_t>),
        };
        // SAFETY: as documented. What nobody got is dropped here.
        unsafe {
            options::write(out_callbacks, &callbacks, "out_callbacks")
                .inspect_err(|_| dropped::<mlxe_load_event_t>(user_data))?;
        }
        *place = Box::into_raw(Box::new(mlxe_load_events_t(events)));
        Ok(())
    })
}

/// Waits for the next event of the load.
///
/// `out_event` receives it, borrowed until the next one is taken or the events are freed; NULL when there are no more.
/// Errors: the load's error, once all its events have been taken; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_next(
    events: *const mlxe_load_events_t,
    out_event: *mut *const mlxe_load_event_t,
) -> *mut mlxe_error_t {
    // SAFETY: as documented.
    guard(|| unsafe { required(events, "events")?.0.take(Wait::Forever, out_event) }.map(drop))
}

/// Like mlxe_load_events_next(), but waits for `seconds` at most. Where nothing has come by then `out_event` receives
/// NULL. `out_done` receives whether there are no more events: only then NULL is the end.
///
/// Errors: as mlxe_load_events_next(); MLXE_ERROR_INVALID_ARGUMENT if `seconds` is negative or not a number.
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_next_for(
    events: *const mlxe_load_events_t,
    seconds: f64,
    out_event: *mut *const mlxe_load_event_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        unsafe {
            let (events, done) = (required(events, "events")?, out(out_done, "out_done")?);
            *done = events.0.take(Wait::seconds(seconds)?, out_event)?;
        }
        Ok(())
    })
}

/// Like mlxe_load_events_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_try_next(
    events: *const mlxe_load_events_t,
    out_event: *mut *const mlxe_load_event_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        unsafe {
            let (events, done) = (required(events, "events")?, out(out_done, "out_done")?);
            *done = events.0.take(Wait::Never, out_event)?;
        }
        Ok(())
    })
}

/// A file descriptor that is readable while mlxe_load_events_try_next() has an event, or has to say that there are no
/// more; see mlxe_generation_fd(). Valid until the events are freed.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_fd(events: *const mlxe_load_events_t, out_fd: *mut i32) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (events, place) = unsafe { (required(events, "events")?, out(out_fd, "out_fd")?) };
        *place = events.0.queue.descriptor()?;
        Ok(())
    })
}

/// Frees the events. The load continues, and is not observed any more. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_events_free(events: *mut mlxe_load_events_t) {
    // SAFETY: NULL or owned events, as documented.
    unsafe { free(events) }
}

/// Events of work on models, of a search or of an estimate that are pulled. Free with mlxe_hub_events_free().
pub struct mlxe_hub_events_t(Events<mlxe_progress_t>);

/// Makes callbacks that keep the events of a task of a hub until they are taken: as mlxe_load_events_new(). Pass them to
/// one of the _start functions that take mlxe_hub_callbacks_t; its result is returned by mlxe_task_result().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_new(
    out_callbacks: *mut mlxe_hub_callbacks_t,
    out_events: *mut *mut mlxe_hub_events_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let place = unsafe { out(out_events, "out_events") }?;
        let (events, user_data) = Events::new();
        let callbacks = mlxe_hub_callbacks_t {
            struct_size: size_of::<mlxe_hub_callbacks_t>(),
            user_data,
            on_event: Some(on_event::<mlxe_progress_t>),
            on_done: Some(worked),
            drop: Some(dropped::<mlxe_progress_t>),
        };
        // SAFETY: as documented. What nobody got is dropped here.
        unsafe {
            options::write(out_callbacks, &callbacks, "out_callbacks")
                .inspect_err(|_| dropped::<mlxe_progress_t>(user_data))?;
        }
        *place = Box::into_raw(Box::new(mlxe_hub_events_t(events)));
        Ok(())
    })
}

/// Waits for the next event of the task: as mlxe_load_events_next().
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_next(
    events: *const mlxe_hub_events_t,
    out_event: *mut *const mlxe_progress_t,
) -> *mut mlxe_error_t {
    // SAFETY: as documented.
    guard(|| unsafe { required(events, "events")?.0.take(Wait::Forever, out_event) }.map(drop))
}

/// Like mlxe_hub_events_next(), but waits for `seconds` at most: as mlxe_load_events_next_for().
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_next_for(
    events: *const mlxe_hub_events_t,
    seconds: f64,
    out_event: *mut *const mlxe_progress_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        unsafe {
            let (events, done) = (required(events, "events")?, out(out_done, "out_done")?);
            *done = events.0.take(Wait::seconds(seconds)?, out_event)?;
        }
        Ok(())
    })
}

/// Like mlxe_hub_events_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_try_next(
    events: *const mlxe_hub_events_t,
    out_event: *mut *const mlxe_progress_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        unsafe {
            let (events, done) = (required(events, "events")?, out(out_done, "out_done")?);
            *done = events.0.take(Wait::Never, out_event)?;
        }
        Ok(())
    })
}

/// A file descriptor that is readable while mlxe_hub_events_try_next() has an event, or has to say that there are no
/// more; see mlxe_generation_fd(). Valid until the events are freed.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_fd(events: *const mlxe_hub_events_t, out_fd: *mut i32) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (events, place) = unsafe { (required(events, "events")?, out(out_fd, "out_fd")?) };
        *place = events.0.queue.descriptor()?;
        Ok(())
    })
}

/// Frees the events. The task continues, and is not observed any more. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_events_free(events: *mut mlxe_hub_events_t) {
    // SAFETY: NULL or owned events, as documented.
    unsafe { free(events) }
}
