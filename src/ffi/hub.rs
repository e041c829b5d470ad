//! Models on the disk and on the Hugging Face Hub.

use std::ffi::{CString, c_char, c_void};

use super::callbacks::{Listener, Translate, callbacks};
use super::hub_work::{self as work, HubReporter};
use super::options;
use super::progress::ProgressBuffer;
use super::{
    TextBuffer, free, guard, mlxe_error_t, mlxe_hub_options_t, mlxe_progress_t, mlxe_str_t, mlxe_string_t, mlxe_task_t,
    out, required, slice,
};
use crate::engine::background;
use crate::error::{Error, Result};
use crate::hub::{Hub, HubOptions};
use crate::progress::Progress;

/// A models directory, how to reach the Hub, and a catalogue of well-known models. Functions that find, load or manage
/// models take one. Free with mlxe_hub_free(); tasks do not need it.
pub struct mlxe_hub_t {
    pub(super) hub: Hub,
    directory: CString,
}

/// Callbacks of work on models, of a search or of an estimate. All functions may be NULL. They are called on a thread
/// of the task, one at a time. Searches and estimates have no events.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_hub_callbacks_t {
    /// sizeof(mlxe_hub_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// The work has progressed. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_progress_t) -> i32>,
    /// The task is over. `json` is its result, or NULL; `error` is its error, or NULL. Both are borrowed for the call.
    pub on_done: Option<unsafe extern "C" fn(user_data: *mut c_void, json: *const c_char, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_hub_callbacks_t, mlxe_progress_t, *const c_char);

/// Events of work on models; the result is JSON.
#[derive(Default)]
pub(super) struct HubWork {
    progress: ProgressBuffer,
    json: TextBuffer,
}

impl Translate for HubWork {
    type Callbacks = mlxe_hub_callbacks_t;
    type Event = Progress;
    type Result = String;

    fn event(&mut self, progress: &Progress) -> mlxe_progress_t {
        self.progress.set(progress)
    }

    fn result(&mut self, json: Option<&String>) -> *const c_char {
        json.map_or(std::ptr::null(), |json| self.json.set(json))
    }
}

/// The work of a task, on its own thread.
pub(super) type Work = Box<dyn FnOnce(&mut HubReporter) -> Result<String> + Send>;

/// Starts work whose result is JSON. The callbacks are read first, so that drop is called whatever else is wrong.
///
/// # Safety
/// Pointers as documented for the functions below.
pub(super) unsafe fn start(
    what: &'static str,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
    work: impl FnOnce() -> Result<Work>,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: the caller's promise.
        let listener = unsafe { Listener::<HubWork>::read(callbacks) }?;
        let task = background(what, listener, work()?)?;
        // SAFETY: the caller's promise.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// Waits for work on models, a search or an estimate, and writes its result to `out_json`: the JSON that the function
/// that started it describes. The caller owns it.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is another kind of
/// task.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_result(
    task: *const mlxe_task_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, place) =
            unsafe { (mlxe_task_t::of::<String>(task, "one whose result is JSON")?, out(out_json, "out_json")?) };
        *place = Box::into_raw(mlxe_string_t::new(task.wait()?));
        Ok(())
    })
}

/// Opens a models directory, which need not exist.
///
/// `options` may be NULL for the defaults. `out_hub` receives the hub, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT; MLXE_ERROR_NOT_FOUND if neither options nor environment give a models
/// directory.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_new(
    options: *const mlxe_hub_options_t,
    out_hub: *mut *mut mlxe_hub_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (request, place) = unsafe { (options::read(options, "options")?.request()?, out(out_hub, "out_hub")?) };
        let hub = Hub::new(HubOptions::new(&request)?);
        let path = hub.directory().display().to_string();
        let directory = CString::new(path).map_err(|_| Error::invalid_argument("options.directory contains a NUL"))?;
        *place = Box::into_raw(Box::new(mlxe_hub_t { hub, directory }));
        Ok(())
    })
}

/// Frees a hub. Its tasks continue. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_free(hub: *mut mlxe_hub_t) {
    // SAFETY: NULL or an owned hub, as documented.
    unsafe { free(hub) }
}

/// The models directory. Borrowed: valid until the hub is freed. The empty string if `hub` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_directory(hub: *const mlxe_hub_t) -> *const c_char {
    // SAFETY: NULL or a live hub, as documented.
    unsafe { hub.as_ref() }.map_or(c"".as_ptr(), |h| h.directory.as_ptr())
}

/// Lists the models on the disk: a JSON array of
/// {"id", "complete", "bytes", "partial_bytes", "last_used", "uses", "model_type", "directory", "revisions": [{"commit",
/// "refs", "complete", "files", "bytes", "directory"}]}. Times are seconds since 1970.
///
/// `out_json` receives the text, which the caller owns. Errors: MLXE_ERROR_IO.
///
/// Any thread. Reads the directory, which takes milliseconds.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_list(hub: *const mlxe_hub_t, out_json: *mut *mut mlxe_string_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (hub, place) = unsafe { (required(hub, "hub")?, out(out_json, "out_json")?) };
        *place = Box::into_raw(mlxe_string_t::new(work::list(&hub.hub)?));
        Ok(())
    })
}

/// Describes one model on the disk: an element of mlxe_hub_list()'s array.
///
/// `out_json` receives the text, which the caller owns. Errors: MLXE_ERROR_NOT_FOUND, MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_info(
    hub: *const mlxe_hub_t,
    id: mlxe_str_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (hub, id, place) = unsafe { (required(hub, "hub")?, id.get("id")?, out(out_json, "out_json")?) };
        *place = Box::into_raw(mlxe_string_t::new(work::info(&hub.hub, id)?));
        Ok(())
    })
}

/// Removes a model, or one revision of it, from the disk. Result: {"id", "bytes"}, with the bytes that were freed.
///
/// An empty `revision` (branch, tag or commit) removes all of them. `out_json` may be NULL; otherwise it receives the
/// result, which the caller owns. A model that is already loaded is not affected.
/// Errors: MLXE_ERROR_NOT_FOUND; MLXE_ERROR_BUSY while it is being downloaded or loaded, in this process or another;
/// MLXE_ERROR_IO.
///
/// Any thread. May take a second for many gigabytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_remove(
    hub: *const mlxe_hub_t,
    id: mlxe_str_t,
    revision: mlxe_str_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (hub, id, revision) = unsafe { (required(hub, "hub")?, id.get("id")?, revision.get_optional("revision")?) };
        let json = work::remove(&hub.hub, id, revision)?;
        // SAFETY: as documented.
        if let Some(place) = unsafe { out_json.as_mut() } {
            *place = Box::into_raw(mlxe_string_t::new(json));
        }
        Ok(())
    })
}

/// Starts downloading what a model needs and the disk lacks. If it is cancelled or killed, what has arrived is kept,
/// and the next download resumes from there. Result: {"id", "commit", "directory"}.
///
/// An empty `revision` is "main". `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives the task, which
/// the caller owns. Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_pull_start(
    hub: *const mlxe_hub_t,
    id: mlxe_str_t,
    revision: mlxe_str_t,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("a download", callbacks, out_task, || {
            let hub = required(hub, "hub")?.hub.clone();
            let id = id.get("id")?.to_owned();
            let revision = revision.get_optional("revision")?.map(str::to_owned);
            Ok(Box::new(move |to| work::pull(&hub, &id, revision, to)))
        })
    }
}

/// Starts verifying a model, or all models if `id` is empty: missing files, sizes, checksums, and leftovers of killed
/// processes. With `fix`, damaged and useless files are removed; the next download fetches them again.
/// Result: {"models", "files", "bytes", "sound", "problems": [{"id", "file", "problem", "message", "bytes", "fixed"}]},
/// where a problem is "missing", "dangling", "size", "checksum", "outside", "unreadable", "leftover" or "unreferenced".
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_verify_start(
    hub: *const mlxe_hub_t,
    id: mlxe_str_t,
    fix: bool,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("a check of models", callbacks, out_task, || {
            let hub = required(hub, "hub")?.hub.clone();
            let id = id.get_optional("id")?.map(str::to_owned);
            Ok(Box::new(move |to| work::verify(&hub, id.as_deref(), fix, to)))
        })
    }
}

/// Starts importing a folder with a model into the models directory as `id`. It is checked first and becomes visible
/// once it is complete. With `link`, weights are hard-linked where the file system allows: both names are then the same
/// file. Result: as mlxe_hub_info().
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_import_start(
    hub: *const mlxe_hub_t,
    folder: mlxe_str_t,
    id: mlxe_str_t,
    link: bool,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("an import", callbacks, out_task, || {
            let hub = required(hub, "hub")?.hub.clone();
            let (folder, id) = (folder.get("folder")?.to_owned(), id.get("id")?.to_owned());
            Ok(Box::new(move |to| work::import(&hub, &folder, &id, link, to)))
        })
    }
}

/// Starts moving all models to another directory, each atomically: by a rename, or by a copy to another file system.
/// This hub keeps the old directory; open a new hub afterwards. Result: {"directory", "moved", "stayed"}.
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_move_start(
    hub: *const mlxe_hub_t,
    directory: mlxe_str_t,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("a move of models", callbacks, out_task, || {
            let hub = required(hub, "hub")?.hub.clone();
            let directory = directory.get("directory")?.to_owned();
            Ok(Box::new(move |to| work::relocate(&hub, &directory, to)))
        })
    }
}

/// Starts removing models, least recently used first, until the others take `budget` bytes or less. The `keep_count`
/// ids in `keep` (NULL if there are none) are kept, as are models in use. With `dry_run` nothing is removed. Result:
/// {"removed": [{"id", "bytes"}], "busy", "bytes", "within_budget"}.
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_prune_start(
    hub: *const mlxe_hub_t,
    budget: u64,
    keep: *const mlxe_str_t,
    keep_count: usize,
    dry_run: bool,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("a removal of models", callbacks, out_task, || {
            let hub = required(hub, "hub")?.hub.clone();
            let keep = slice(keep, keep_count, "keep")?;
            let keep = keep.iter().map(|id| id.get("keep").map(str::to_owned)).collect::<Result<Vec<_>>>()?;
            Ok(Box::new(move |to| work::prune(&hub, budget, keep, dry_run, to)))
        })
    }
}
