//! Loading models.

use std::ffi::{c_char, c_void};

use super::callbacks::{Listener, Translate, callbacks};
use super::options;
use super::progress::ProgressBuffer;
use super::{
    TextBuffer, guard, mlxe_engine_t, mlxe_error_t, mlxe_hub_t, mlxe_load_options_t, mlxe_model_t, mlxe_progress_t,
    mlxe_task_t, out, required,
};
use crate::engine::{Model, Task};
use crate::error::{Error, Result};
use crate::load::{LoadEvent, LoadingPhase, ModelConfiguration};

/// Reading the configuration of a model that is on the disk.
pub const MLXE_PHASE_READING_CONFIG: i32 = 1;
/// Finding the model on its hub and downloading its configuration.
pub const MLXE_PHASE_DOWNLOADING_CONFIG: i32 = 2;
/// Downloading a weight file.
pub const MLXE_PHASE_DOWNLOADING_WEIGHTS: i32 = 3;
/// Reading a weight file into memory.
pub const MLXE_PHASE_LOADING_WEIGHTS: i32 = 4;
/// Reading the tokenizer.
pub const MLXE_PHASE_LOADING_TOKENIZER: i32 = 5;
/// Running the model once, so that the first answer is not slower than later ones.
pub const MLXE_PHASE_INITIALIZING_MODEL: i32 = 6;
/// The model is ready. Terminal.
pub const MLXE_PHASE_READY: i32 = 7;
/// The load failed. Terminal.
pub const MLXE_PHASE_FAILED: i32 = 8;
/// The load was cancelled. Terminal.
pub const MLXE_PHASE_CANCELLED: i32 = 9;

/// What a load is doing. Valid during the call it is passed to, as is everything it points to;
/// mlxe_load_event_clone() keeps it. Ignore phases you do not know.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_load_event_t {
    /// sizeof the struct in the library; later versions append fields.
    pub struct_size: usize,
    /// MLXE_PHASE_*
    pub phase: i32,
    /// Whether no event follows.
    pub is_terminal: bool,
    /// The phase's name: "readingConfig", "loadingWeights", ...
    pub phase_name: *const c_char,
    /// A sentence for people. It also mentions a failure that is about to be retried.
    pub description: *const c_char,
    /// Estimated progress of the whole load, 0 to 1. Never decreases, except to 0 when the load ends without a model.
    pub estimated_progress: f64,
    /// Progress of a download or of reading weights. NULL in other phases.
    pub progress: *const mlxe_progress_t,
    /// Coarse progress: the latest of nine checkpoints reached, 1 to 9.
    pub checkpoint: u32,
    /// If it failed or was cancelled: MLXE_ERROR_*, otherwise MLXE_OK.
    pub error_code: i32,
    /// Coarse progress: "initialization", "loading_model", "device_setup" or "optimization".
    pub checkpoint_stage: *const c_char,
    /// If it failed or was cancelled: what went wrong, otherwise NULL.
    pub error_message: *const c_char,
    /// The same in brief, for a screen with little room.
    pub error_summary: *const c_char,
    /// If it failed or was cancelled: the name of the phase in which that happened, otherwise NULL.
    pub failed_phase: *const c_char,
    /// Bytes that MLX holds in the whole process.
    pub memory_bytes: u64,
    /// Seconds since the load began.
    pub elapsed_seconds: f64,
}

/// Callbacks of a load. All functions may be NULL. They are called on the engine's thread, one at a time; slow
/// callbacks delay everything on that engine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_load_callbacks_t {
    /// sizeof(mlxe_load_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// Something happened. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_load_event_t) -> i32>,
    /// The load is over. `model` is a handle that the callback owns, or NULL; `error` is its error, borrowed for the
    /// call, or NULL.
    pub on_done:
        Option<unsafe extern "C" fn(user_data: *mut c_void, model: *mut mlxe_model_t, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_load_callbacks_t, mlxe_load_event_t, *mut mlxe_model_t);

/// Events and results of loads.
#[derive(Default)]
pub(super) struct Loads {
    phase: TextBuffer,
    description: TextBuffer,
    checkpoint: TextBuffer,
    message: TextBuffer,
    summary: TextBuffer,
    failed: TextBuffer,
    progress: ProgressBuffer,
    /// What the event points to.
    current: Option<mlxe_progress_t>,
}

impl Translate for Loads {
    type Callbacks = mlxe_load_callbacks_t;
    type Event = LoadEvent;
    type Result = Model;

    fn event(&mut self, event: &LoadEvent) -> mlxe_load_event_t {
        let failure = event.failure.as_ref();
        self.current = event.progress.as_ref().map(|progress| self.progress.set(progress));
        mlxe_load_event_t {
            struct_size: std::mem::size_of::<mlxe_load_event_t>(),
            phase: match event.phase {
                LoadingPhase::ReadingConfig => MLXE_PHASE_READING_CONFIG,
                LoadingPhase::DownloadingConfig => MLXE_PHASE_DOWNLOADING_CONFIG,
                LoadingPhase::DownloadingWeights => MLXE_PHASE_DOWNLOADING_WEIGHTS,
                LoadingPhase::LoadingWeights => MLXE_PHASE_LOADING_WEIGHTS,
                LoadingPhase::LoadingTokenizer => MLXE_PHASE_LOADING_TOKENIZER,
                LoadingPhase::InitializingModel => MLXE_PHASE_INITIALIZING_MODEL,
                LoadingPhase::Ready => MLXE_PHASE_READY,
                LoadingPhase::Failed => MLXE_PHASE_FAILED,
                LoadingPhase::Cancelled => MLXE_PHASE_CANCELLED,
            },
            is_terminal: event.phase.is_terminal(),
            phase_name: self.phase.set(event.phase.name()),
            description: self.description.set(&event.description()),
            estimated_progress: event.estimated_progress,
            progress: self.current.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            checkpoint: event.checkpoint.step,
            error_code: failure.map_or(super::MLXE_OK, |f| f.kind.code()),
            checkpoint_stage: self.checkpoint.set(event.checkpoint.stage.name()),
            error_message: failure.map_or(std::ptr::null(), |f| self.message.set(&f.message)),
            error_summary: failure.map_or(std::ptr::null(), |f| self.summary.set(&f.summary)),
            failed_phase: failure.map_or(std::ptr::null(), |f| self.failed.set(f.phase.name())),
            memory_bytes: event.memory_bytes as u64,
            elapsed_seconds: event.elapsed.as_secs_f64(),
        }
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

/// Starts loading a model and returns immediately.
///
/// `hub` says where a model with an `id` is kept and comes from, and whose catalogue applies; NULL for the hub of
/// mlxe_hub_new(NULL). It may be freed right after the call. `options` and the strings in it are copied. `callbacks`
/// may be NULL. `out_task` may be NULL; otherwise it receives the task, which the caller owns.
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
/// Errors: those of loading; MLXE_ERROR_REENTRANT inside a callback.
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

/// Waits for a load and returns its model, which the caller owns. Each call returns another handle to the same model.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a load.
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
