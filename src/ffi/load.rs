//! Loading models.

use std::ffi::{c_char, c_void};

use super::callbacks::{Listener, Translate, callbacks};
use super::options;
use super::{
    TextBuffer, guard, mlxe_engine_t, mlxe_error_t, mlxe_hub_t, mlxe_load_options_t, mlxe_model_t, mlxe_task_t, out,
    required,
};
use crate::engine::{Model, Task};
use crate::error::{Error, Result};
use crate::load::{Checkpoints, LoadEvent, LoadingPhase, ModelConfiguration};

/// Finding the model and reading its configuration.
pub const MLXE_PHASE_DOWNLOADING_CONFIG: i32 = 1;
/// Downloading a weight file.
pub const MLXE_PHASE_DOWNLOADING_WEIGHTS: i32 = 2;
/// Reading a weight file into memory.
pub const MLXE_PHASE_LOADING_WEIGHTS: i32 = 3;
/// Reading the tokenizer.
pub const MLXE_PHASE_LOADING_TOKENIZER: i32 = 4;
/// Running the model once, so that the first answer is not slower than the next.
pub const MLXE_PHASE_INITIALIZING_MODEL: i32 = 5;
/// The model can be used. Terminal.
pub const MLXE_PHASE_READY: i32 = 6;
/// The load is over without a model. Terminal.
pub const MLXE_PHASE_FAILED: i32 = 7;

/// What a load is doing. Valid for the call it is passed to, with all that it points to. Ignore phases you do not know.
#[repr(C)]
pub struct mlxe_load_event_t {
    /// sizeof of the library's struct; later versions append fields.
    pub struct_size: usize,
    /// MLXE_PHASE_*
    pub phase: i32,
    /// Whether no event follows.
    pub is_terminal: bool,
    /// The phase's name: "downloadingConfig", "loadingWeights", ...
    pub name: *const c_char,
    /// A sentence for people.
    pub description: *const c_char,
    /// About how far the whole load is, 0 to 1; never less than before, and 0 when it failed.
    pub estimated_progress: f64,
    /// The file being downloaded or read; NULL in other phases.
    pub file: *const c_char,
    /// Its number, from 1; 0 in other phases.
    pub file_index: u32,
    /// How many files there are; 0 in other phases.
    pub total_files: u32,
    /// While downloading: how much of this file is there, 0 to 1.
    pub file_progress: f64,
    /// While downloading or reading weights: bytes so far, over all files.
    pub bytes_done: u64,
    /// While downloading or reading weights: bytes in all files. 0 while they are not known.
    pub bytes_total: u64,
    /// Bytes that MLX holds, in the whole process.
    pub memory_bytes: u64,
    /// Seconds since the load began.
    pub elapsed_seconds: f64,
    /// When it failed: MLXE_ERROR_*, else MLXE_OK.
    pub error_code: i32,
    /// The coarse view: the last of nine checkpoints that was reached, 1 to 9.
    pub checkpoint: u32,
    /// When it failed: what went wrong, else NULL.
    pub error_message: *const c_char,
    /// When it failed: the name of the phase it failed in, else NULL.
    pub failed_phase: *const c_char,
    /// The coarse view: "initialization", "loading_model", "device_setup" or "optimization".
    pub checkpoint_stage: *const c_char,
    /// While downloading: bytes a second, lately; else 0.
    pub bytes_per_second: f64,
    /// While downloading: seconds that the rest will take at that speed; negative if that is not known.
    pub remaining_seconds: f64,
    /// While waiting before another try: seconds that the wait takes.
    pub retry_seconds: f64,
    /// While waiting before another try: what went wrong, else NULL.
    pub retry_reason: *const c_char,
    /// While waiting before another try: how many tries have failed in a row; else 0.
    pub retry_attempt: u32,
    /// While waiting before another try: how many may fail before the load does; else 0.
    pub retry_limit: u32,
}

/// Who hears of a load. All functions may be NULL. They are called on the engine's thread, one at a time; what takes
/// long in them delays everything on that engine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_load_callbacks_t {
    /// sizeof(mlxe_load_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// Something happened. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_load_event_t) -> i32>,
    /// The load is over. `model` is a handle that the callback owns, or NULL; `error` is what it failed with, borrowed
    /// for the call, or NULL.
    pub on_done:
        Option<unsafe extern "C" fn(user_data: *mut c_void, model: *mut mlxe_model_t, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_load_callbacks_t, mlxe_load_event_t, *mut mlxe_model_t);

/// Events and results of loads.
#[derive(Default)]
pub(super) struct Loads {
    checkpoints: Checkpoints,
    description: TextBuffer,
    file: TextBuffer,
    message: TextBuffer,
    reason: TextBuffer,
}

impl Translate for Loads {
    type Callbacks = mlxe_load_callbacks_t;
    type Event = LoadEvent;
    type Result = Model;

    fn event(&mut self, event: &LoadEvent) -> mlxe_load_event_t {
        self.checkpoints.reach(&event.phase);
        let name = |name: &str| match name {
            "downloadingConfig" => c"downloadingConfig",
            "downloadingWeights" => c"downloadingWeights",
            "loadingWeights" => c"loadingWeights",
            "loadingTokenizer" => c"loadingTokenizer",
            "initializingModel" => c"initializingModel",
            "ready" => c"ready",
            _ => c"failed",
        };
        let stage = match self.checkpoints.stage().name() {
            "initialization" => c"initialization",
            "loading_model" => c"loading_model",
            "device_setup" => c"device_setup",
            _ => c"optimization",
        };
        let mut c = mlxe_load_event_t {
            struct_size: std::mem::size_of::<mlxe_load_event_t>(),
            phase: MLXE_PHASE_DOWNLOADING_CONFIG,
            is_terminal: event.phase.is_terminal(),
            name: name(event.phase.name()).as_ptr(),
            description: self.description.set(&event.description()),
            estimated_progress: event.estimated_progress,
            file: std::ptr::null(),
            file_index: 0,
            total_files: 0,
            file_progress: 0.0,
            bytes_done: 0,
            bytes_total: 0,
            memory_bytes: event.memory_bytes as u64,
            elapsed_seconds: event.elapsed.as_secs_f64(),
            error_code: super::MLXE_OK,
            checkpoint: self.checkpoints.current(),
            error_message: std::ptr::null(),
            failed_phase: std::ptr::null(),
            checkpoint_stage: stage.as_ptr(),
            bytes_per_second: 0.0,
            remaining_seconds: -1.0,
            retry_seconds: 0.0,
            retry_reason: std::ptr::null(),
            retry_attempt: 0,
            retry_limit: 0,
        };
        if let Some(download) = event.download.as_ref().filter(|_| !event.phase.is_terminal()) {
            (c.bytes_done, c.bytes_total) = (download.bytes_done, download.bytes_total);
            c.bytes_per_second = download.bytes_per_second;
            c.remaining_seconds = download.remaining.map_or(-1.0, |r| r.as_secs_f64());
            if let Some(retry) = &download.retry {
                c.retry_seconds = retry.wait.as_secs_f64();
                c.retry_reason = self.reason.set(&retry.reason);
                (c.retry_attempt, c.retry_limit) = (retry.attempt, retry.of);
            }
        }
        match &event.phase {
            LoadingPhase::DownloadingConfig => {}
            LoadingPhase::DownloadingWeights { file, file_index, total_files, progress } => {
                c.phase = MLXE_PHASE_DOWNLOADING_WEIGHTS;
                c.file = self.file.set(file);
                (c.file_index, c.total_files) = (*file_index as u32, *total_files as u32);
                c.file_progress = *progress;
            }
            LoadingPhase::LoadingWeights { file, file_index, total_files, bytes_done, bytes_total } => {
                c.phase = MLXE_PHASE_LOADING_WEIGHTS;
                c.file = self.file.set(file);
                (c.file_index, c.total_files) = (*file_index as u32, *total_files as u32);
                (c.bytes_done, c.bytes_total) = (*bytes_done, *bytes_total);
            }
            LoadingPhase::LoadingTokenizer => c.phase = MLXE_PHASE_LOADING_TOKENIZER,
            LoadingPhase::InitializingModel => c.phase = MLXE_PHASE_INITIALIZING_MODEL,
            LoadingPhase::Ready => c.phase = MLXE_PHASE_READY,
            LoadingPhase::Failed(error) => {
                c.phase = MLXE_PHASE_FAILED;
                c.error_code = error.kind.code();
                c.error_message = self.message.set(&error.message);
                c.failed_phase = name(error.phase).as_ptr();
            }
        }
        c
    }
    fn result(&mut self, model: Option<&Model>) -> *mut mlxe_model_t {
        model.map_or(std::ptr::null_mut(), |model| mlxe_model_t::into_raw(model.clone()))
    }
}

/// What to load, of which hub.
///
/// # Safety
/// Pointers as documented for mlxe_load_start().
pub(super) unsafe fn configuration(
    hub: *const mlxe_hub_t,
    options: *const mlxe_load_options_t,
) -> Result<ModelConfiguration> {
    // SAFETY: the caller's promise.
    let (hub, options) = unsafe { (hub.as_ref(), options::read(required(options, "options")?, "options")?.request()?) };
    let hub = hub.map(|h| h.hub.clone());
    Ok(ModelConfiguration { hub, ..ModelConfiguration::from_options(options)? })
}

/// # Safety
/// Pointers as documented for mlxe_load_start().
unsafe fn start(
    engine: *const mlxe_engine_t,
    hub: *const mlxe_hub_t,
    options: *const mlxe_load_options_t,
    listener: Listener<Loads>,
) -> Result<Task<Model>> {
    // SAFETY: the caller's promise.
    let (engine, configuration) = unsafe { (required(engine, "engine")?, configuration(hub, options)?) };
    Ok(engine.0.load(configuration, listener))
}

/// Starts loading a model and returns at once.
///
/// `hub` says where a model with an `id` lies and comes from, and whose catalogue counts; NULL for the hub that the
/// environment describes, as mlxe_hub_new(NULL) opens it. It may be freed at once. `options` and the strings in it are
/// copied. `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives
/// the task, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load_start(
    engine: *const mlxe_engine_t,
    hub: *const mlxe_hub_t,
    options: *const mlxe_load_options_t,
    callbacks: *const mlxe_load_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented. The callbacks come first, so that drop is called whatever else is wrong.
        unsafe { mlxe_task_t::give(start(engine, hub, options, Listener::read(callbacks)?)?, out_task) }
        Ok(())
    })
}

/// Loads a model and waits for it: mlxe_load_start(), then mlxe_task_model().
///
/// `callbacks` may be NULL. `out_model` receives the model, which the caller owns.
/// Errors: all that loading can fail with; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_load(
    engine: *const mlxe_engine_t,
    hub: *const mlxe_hub_t,
    options: *const mlxe_load_options_t,
    callbacks: *const mlxe_load_callbacks_t,
    out_model: *mut *mut mlxe_model_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let listener = unsafe { Listener::read(callbacks) }?;
        if crate::engine::in_callback() {
            return Err(Error::new(crate::ErrorKind::Reentrant, "mlxe_load() inside a callback would never end"));
        }
        // SAFETY: pointers as documented. Nothing is started that could not be handed over.
        let (place, task) = unsafe { (out(out_model, "out_model")?, start(engine, hub, options, listener)?) };
        *place = mlxe_model_t::into_raw(task.wait()?);
        Ok(())
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
        let (task, place) = unsafe { (mlxe_task_t::of::<Model>(task, "a load")?, out(out_model, "out_model")?) };
        *place = mlxe_model_t::into_raw(task.wait()?);
        Ok(())
    })
}
