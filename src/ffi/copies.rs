//! Copies of events, for hosts that hand them to another thread.

use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{free, mlxe_generation_event_t, mlxe_load_event_t, mlxe_progress_t, mlxe_token_value_t};

/// An event and what it points to. The event comes first, so that its address is that of the whole.
#[repr(C)]
struct Copied<E> {
    event: E,
    owned: Owned,
}

/// What an event points to.
#[derive(Default)]
struct Owned {
    texts: Vec<CString>,
    bytes: Vec<u8>,
    top: Vec<mlxe_token_value_t>,
    progress: Option<Box<mlxe_progress_t>>,
}

impl Owned {
    /// A copy of a text, which may be NULL.
    ///
    /// # Safety
    /// `text` is NULL or NUL-terminated.
    unsafe fn text(&mut self, text: *const c_char) -> *const c_char {
        if text.is_null() {
            return text;
        }
        // SAFETY: the caller's promise.
        let copy = unsafe { CStr::from_ptr(text) }.to_owned();
        let place = copy.as_ptr();
        self.texts.push(copy);
        place
    }

    /// # Safety
    /// What `progress` points to is valid.
    unsafe fn progress(&mut self, progress: &mlxe_progress_t) -> mlxe_progress_t {
        // SAFETY: the caller's promise.
        unsafe {
            mlxe_progress_t {
                stage_name: self.text(progress.stage_name),
                file: self.text(progress.file),
                retry_reason: self.text(progress.retry_reason),
                waiting_for: self.text(progress.waiting_for),
                ..*progress
            }
        }
    }
}

/// A copy that the caller owns; NULL for NULL.
///
/// # Safety
/// `event` is NULL or valid, with what `copy` reads.
unsafe fn copied<E>(event: *const E, copy: impl FnOnce(&E, &mut Owned) -> E) -> *mut E {
    // SAFETY: the caller's promise.
    let Some(event) = (unsafe { event.as_ref() }) else { return std::ptr::null_mut() };
    let made = catch_unwind(AssertUnwindSafe(|| {
        let mut owned = Owned::default();
        let event = copy(event, &mut owned);
        Box::into_raw(Box::new(Copied { event, owned })).cast()
    }));
    made.unwrap_or(std::ptr::null_mut())
}

/// A copy of an event and of all that it points to, which stays valid after the callback. Free it with
/// mlxe_load_event_free(). NULL if `event` is NULL.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_event_clone(event: *const mlxe_load_event_t) -> *mut mlxe_load_event_t {
    // SAFETY: an event of the library, as documented.
    unsafe {
        copied(event, |event, owned| {
            let progress = event.progress.as_ref().map(|progress| Box::new(owned.progress(progress)));
            owned.progress = progress;
            mlxe_load_event_t {
                phase_name: owned.text(event.phase_name),
                description: owned.text(event.description),
                progress: owned.progress.as_deref().map_or(std::ptr::null(), std::ptr::from_ref),
                checkpoint_stage: owned.text(event.checkpoint_stage),
                error_message: owned.text(event.error_message),
                error_summary: owned.text(event.error_summary),
                failed_phase: owned.text(event.failed_phase),
                ..*event
            }
        })
    }
}

/// Frees a copy made by mlxe_load_event_clone(). NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_event_free(event: *mut mlxe_load_event_t) {
    // SAFETY: NULL or an owned copy, as documented.
    unsafe { free(event.cast::<Copied<mlxe_load_event_t>>()) }
}

/// A copy of an event of work on models and of all that it points to, which stays valid after the callback. Free it with
/// mlxe_progress_free(). NULL if `progress` is NULL.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_progress_clone(progress: *const mlxe_progress_t) -> *mut mlxe_progress_t {
    // SAFETY: an event of the library, as documented.
    unsafe { copied(progress, |progress, owned| owned.progress(progress)) }
}

/// Frees a copy made by mlxe_progress_clone(). NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_progress_free(progress: *mut mlxe_progress_t) {
    // SAFETY: NULL or an owned copy, as documented.
    unsafe { free(progress.cast::<Copied<mlxe_progress_t>>()) }
}

/// A copy of an event of a generation and of all that it points to, which stays valid after the callback or the next
/// event. Free it with mlxe_generation_event_free(). NULL if `event` is NULL.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_event_clone(
    event: *const mlxe_generation_event_t,
) -> *mut mlxe_generation_event_t {
    // SAFETY: an event of the library, as documented; texts have `text_len` bytes and a NUL.
    unsafe {
        copied(event, |event, owned| {
            owned.bytes = std::slice::from_raw_parts(event.text.cast::<u8>(), event.text_len + 1).to_vec();
            if !event.top.is_null() {
                owned.top = std::slice::from_raw_parts(event.top, event.top_count).to_vec();
            }
            mlxe_generation_event_t {
                text: owned.bytes.as_ptr().cast(),
                top: if owned.top.is_empty() { std::ptr::null() } else { owned.top.as_ptr() },
                ..*event
            }
        })
    }
}

/// Frees a copy made by mlxe_generation_event_clone(). NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generation_event_free(event: *mut mlxe_generation_event_t) {
    // SAFETY: NULL or an owned copy, as documented.
    unsafe { free(event.cast::<Copied<mlxe_generation_event_t>>()) }
}
