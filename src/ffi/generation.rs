//! Generations whose events are pulled.

use std::sync::Arc;

use parking_lot::Mutex;

use super::generate::{EventBuffer, write_stats};
use super::options;
use super::queue::{Queue, Taken, Wait};
use super::sampler::guides;
use super::{
    free, guard, mlxe_error_t, mlxe_generate_options_t, mlxe_generation_event_t, mlxe_generation_stats_t, mlxe_model_t,
    mlxe_sampler_t, out, required, slice,
};
use crate::engine::{Control, Observer, Task};
use crate::error::Result;
use crate::generate::{GenerationEvent, GenerationStats};

/// A generation whose events are pulled one at a time, for programs without callbacks and for event loops. Free with
/// mlxe_generation_free(), which cancels it.
pub struct mlxe_generation_t {
    task: Task<GenerationStats>,
    queue: Arc<Queue<GenerationEvent>>,
    /// The last event that was taken, and what it points to.
    current: Mutex<(EventBuffer, Option<Box<mlxe_generation_event_t>>)>,
}

// SAFETY: the buffers are used under the lock only.
unsafe impl Send for mlxe_generation_t {}
// SAFETY: as above.
unsafe impl Sync for mlxe_generation_t {}

/// Sends all events on.
struct Sender(Arc<Queue<GenerationEvent>>);

impl Observer<GenerationEvent, GenerationStats> for Sender {
    fn event(&mut self, event: &GenerationEvent) -> Control {
        self.0.push(event.clone(), |_, _| false);
        Control::Continue
    }

    fn done(&mut self, result: &Result<GenerationStats>) {
        self.0.end(result.as_ref().map(drop).map_err(Clone::clone));
    }
}

impl mlxe_generation_t {
    /// Writes the next event; returns whether that was the end.
    ///
    /// # Safety
    /// `out_event` is NULL or valid for writing.
    unsafe fn take(&self, wait: Wait, out_event: *mut *const mlxe_generation_event_t) -> Result<bool> {
        // SAFETY: the caller's promise.
        let place = unsafe { out(out_event, "out_event") }?;
        let taken = self.queue.take(wait)?;
        let end = matches!(taken, Taken::End);
        *place = match taken {
            Taken::Event(event) => {
                let mut last = self.current.lock();
                let (buffer, current) = &mut *last;
                let event = Box::new(buffer.set(&event));
                &raw const **current.insert(event)
            }
            Taken::Nothing | Taken::End => std::ptr::null(),
        };
        Ok(end)
    }
}

/// Starts generating after a prompt; mlxe_generation_next() returns its events. The generation does not wait for events
/// to be taken.
///
/// Arguments as for mlxe_generate_start(). `out_generation` receives the generation, which the caller owns.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_new(
    model: *const mlxe_model_t,
    prompt: *const u32,
    prompt_len: usize,
    options: *const mlxe_generate_options_t,
    out_generation: *mut *mut mlxe_generation_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, prompt, options, place) = unsafe {
            (
                required(model, "model")?,
                slice(prompt, prompt_len, "prompt")?.to_vec(),
                options::read(options, "options")?.request()?,
                out(out_generation, "out_generation")?,
            )
        };
        let queue = Arc::new(Queue::new());
        let task = model.0.generate(prompt, options, Sender(queue.clone()))?;
        *place = Box::into_raw(Box::new(mlxe_generation_t { task, queue, current: Mutex::default() }));
        Ok(())
    })
}

/// Like mlxe_generation_new(), but `sampler` chooses the tokens, as for mlxe_generate_guided_start().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_guided_new(
    model: *const mlxe_model_t,
    prompt: *const u32,
    prompt_len: usize,
    options: *const mlxe_generate_options_t,
    sampler: *const mlxe_sampler_t,
    out_generation: *mut *mut mlxe_generation_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let guides = unsafe { guides(sampler) }?;
        // SAFETY: pointers as documented.
        let (model, prompt, options, place) = unsafe {
            (
                required(model, "model")?,
                slice(prompt, prompt_len, "prompt")?.to_vec(),
                options::read(options, "options")?.request()?,
                out(out_generation, "out_generation")?,
            )
        };
        let queue = Arc::new(Queue::new());
        let task = model.0.generate_guided(prompt, options, guides, Sender(queue.clone()))?;
        *place = Box::into_raw(Box::new(mlxe_generation_t { task, queue, current: Mutex::default() }));
        Ok(())
    })
}

/// Waits for the next event.
///
/// `out_event` receives it, borrowed until the next one is taken or the generation is freed; NULL when there are no
/// more.
/// Errors: the generation's error, once all its events have been taken; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_next(
    generation: *const mlxe_generation_t,
    out_event: *mut *const mlxe_generation_event_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        unsafe { required(generation, "generation")?.take(Wait::Forever, out_event) }.map(drop)
    })
}

/// Like mlxe_generation_next(), but waits for `seconds` at most. Where nothing has come by then `out_event` receives
/// NULL. `out_done` receives whether there are no more events: only then NULL is the end.
///
/// Errors: as mlxe_generation_next(); MLXE_ERROR_INVALID_ARGUMENT if `seconds` is negative or not a number.
///
/// Any thread but the library's own; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_next_for(
    generation: *const mlxe_generation_t,
    seconds: f64,
    out_event: *mut *const mlxe_generation_event_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        unsafe {
            let (generation, done) = (required(generation, "generation")?, out(out_done, "out_done")?);
            *done = generation.take(Wait::seconds(seconds)?, out_event)?;
        }
        Ok(())
    })
}

/// Like mlxe_generation_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_try_next(
    generation: *const mlxe_generation_t,
    out_event: *mut *const mlxe_generation_event_t,
    out_done: *mut bool,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        unsafe {
            let (generation, done) = (required(generation, "generation")?, out(out_done, "out_done")?);
            *done = generation.take(Wait::Never, out_event)?;
        }
        Ok(())
    })
}

/// A file descriptor for poll(), epoll, kqueue and event loops: readable while mlxe_generation_try_next() has an event,
/// or has to say that there are no more. After the end it stays readable. It is the library's: wait for it, but do not
/// read, write or close it. Valid until the generation is freed; every call gives the same one.
///
/// Errors: MLXE_ERROR_IO if the system has no descriptor left.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_fd(
    generation: *const mlxe_generation_t,
    out_fd: *mut i32,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (generation, place) = unsafe { (required(generation, "generation")?, out(out_fd, "out_fd")?) };
        *place = generation.queue.descriptor()?;
        Ok(())
    })
}

/// Asks the generation to stop, which it does within one token. Does nothing if `generation` is NULL.
///
/// Any thread, also inside callbacks and signal handlers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_cancel(generation: *const mlxe_generation_t) {
    // SAFETY: NULL or a live generation, as documented.
    if let Some(generation) = unsafe { generation.as_ref() } {
        generation.task.cancel();
    }
}

/// Waits for the end of the generation and copies its statistics to `out_stats`, whose struct_size must be set. Events
/// that have not been taken remain available.
///
/// Any thread but the library's own. Errors: the generation's error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_stats(
    generation: *const mlxe_generation_t,
    out_stats: *mut mlxe_generation_stats_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let s = unsafe { required(generation, "generation") }?.task.wait()?;
        // SAFETY: pointers as documented.
        unsafe { write_stats(&s, out_stats) }
    })
}

/// Cancels the generation if it is still running, and releases it. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_free(generation: *mut mlxe_generation_t) {
    // SAFETY: NULL or an owned generation, as documented.
    unsafe {
        mlxe_generation_cancel(generation);
        free(generation);
    }
}
