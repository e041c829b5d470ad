//! Finding models, knowing what they take, the catalogue.

use std::ffi::{CString, c_char, c_void};
use std::ptr::null;

use serde::Serialize;
use serde_json::Value;

#[cfg(feature = "hub")]
use super::hub::hub_options;
use super::load::configuration;
use super::options::{self, Versioned};
use super::task::{AnyTask, HubTask, give};
use super::{
    DropGuard, UserData, guard, mlxe_error_t, mlxe_load_options_t, mlxe_str_t, mlxe_string_t, mlxe_task_t, out,
    required,
};
use crate::array::Device;
use crate::engine::{Control, Observer, Task, background};
use crate::error::{Error, Result};
use crate::hub::catalog;
use crate::load::{EstimateOptions, fit};

/// Who hears of a search or an estimate. All functions may be NULL. They are called on a thread of the library. There is
/// no on_event: such work is short and has nothing to tell before its end.
///
/// Once the _start function has accepted the callbacks: on_done is called exactly once, then drop exactly once, and
/// nothing after that. If it rejects them, only drop is called; not even that if struct_size cannot be right.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_json_callbacks_t {
    /// sizeof(mlxe_json_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// The work is over. `json` is its result or NULL; `error` is what it failed with or NULL. Both are borrowed for the
    /// call.
    pub on_done: Option<unsafe extern "C" fn(user_data: *mut c_void, json: *const c_char, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: repr(C), begins with the size; pointers and optional functions.
unsafe impl Versioned for mlxe_json_callbacks_t {
    const FIRST_SIZE: usize = 32;
    const SET_UP: &str = "set it to sizeof the struct";

    fn defaults() -> Self {
        mlxe_json_callbacks_t {
            struct_size: std::mem::size_of::<Self>(),
            user_data: std::ptr::null_mut(),
            on_done: None,
            drop: None,
        }
    }
}

/// The caller's callbacks as an observer.
struct Callbacks {
    callbacks: mlxe_json_callbacks_t,
    user_data: UserData,
    /// Last, so that it is dropped when nothing else is left.
    _drop: DropGuard,
}

// SAFETY: as for UserData.
unsafe impl Send for Callbacks {}

impl Callbacks {
    /// Reads the caller's struct. From here on `drop` is called whatever happens, unless the struct is unreadable.
    ///
    /// # Safety
    /// `callbacks` is NULL or points to a struct as large as it says.
    unsafe fn read(callbacks: *const mlxe_json_callbacks_t) -> Result<Self> {
        // SAFETY: the caller's promise.
        let (callbacks, rest) = unsafe { options::read_known(callbacks, "callbacks") }?;
        let user_data = UserData { pointer: callbacks.user_data, drop: callbacks.drop };
        let observer = Callbacks { callbacks, user_data, _drop: DropGuard(user_data) };
        rest.map(|()| observer)
    }
}

impl Observer<(), String> for Callbacks {
    fn event(&mut self, _: &()) -> Control {
        Control::Continue
    }

    fn done(&mut self, result: &Result<String>) {
        let Some(on_done) = self.callbacks.on_done else { return };
        let pointer = self.user_data.pointer;
        // JSON escapes NULs.
        let json = result.as_ref().ok().and_then(|json| CString::new(json.as_str()).ok());
        // SAFETY: the caller gave the pointer and the function for each other; text and error live for the call.
        unsafe {
            match result {
                Ok(_) => on_done(pointer, json.as_ref().map_or(null(), |j| j.as_ptr()), null()),
                Err(error) => on_done(pointer, null(), &mlxe_error_t::new(error)),
            }
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(e.to_string()))
}

/// Looks for models of the Hugging Face Hub and returns at once.
///
/// Of `options`, which may be NULL, endpoint, token, proxy and offline are used. `query` is a JSON object, or empty: text,
/// author, task, library ("mlx"), tags, languages, licence, gated, architecture, size_class ("tiny" under 100 million
/// parameters, "small" to 1 billion, "medium" to 7, "large" to 13, "xlarge"), bits, modality ("text", "image", "audio",
/// "embedding", "other"), min_bytes, max_bytes, fits_bytes, min_downloads, min_likes, since ("2025-01-31"), supported,
/// sort ("downloads", "likes", "trending", "created", "modified", "quality"), limit (20), page. All that is given must be
/// fulfilled; unknown keys are refused.
///
/// The result is a JSON object: `models`, each with id, architecture, supported, parameters, bits, weight_bytes,
/// memory_bytes, quality and more (unknown values are null); `next`, the `page` to go on with or null; `examined`.
///
/// All arguments are copied. `callbacks` and `out_task` may be NULL; the task is the caller's, see mlxe_task_result().
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_search_start(
    options: *const mlxe_load_options_t,
    query: mlxe_str_t,
    callbacks: *const mlxe_json_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented. The callbacks come first, so that drop is called whatever else is wrong.
        unsafe {
            let callbacks = Callbacks::read(callbacks)?;
            give(json_task(search(options, query, callbacks)?), out_task)
        }
    })
}

/// Such work ends soon: pausing it does nothing.
fn json_task(task: Task<String>) -> AnyTask {
    AnyTask::Hub(HubTask { task, paused: Default::default() })
}

/// # Safety
/// Pointers as documented for mlxe_search_start().
#[cfg(feature = "hub")]
unsafe fn search(options: *const mlxe_load_options_t, query: mlxe_str_t, callbacks: Callbacks) -> Result<Task<String>> {
    use crate::hub::{Client, SearchQuery};
    // SAFETY: the caller's promise.
    let (query, hub) = unsafe {
        let o = options::read(options, "options")?;
        let hub = hub_options(o.cache_directory, o.endpoint, o.token, o.offline, o.proxy)?;
        (SearchQuery::from_json(query.get("query")?)?, hub)
    };
    let client = Client::new(hub)?;
    let cancelled = client.clone();
    let work = move || to_json(&fit::search(&client, &query)?);
    background("mlx-search", callbacks, work, move || cancelled.cancel())
}

/// # Safety
/// Pointers as documented for mlxe_search_start().
#[cfg(not(feature = "hub"))]
unsafe fn search(_: *const mlxe_load_options_t, _: mlxe_str_t, _: Callbacks) -> Result<Task<String>> {
    Err(Error::unsupported("this build has no access to the Hub"))
}

/// Estimates what a model takes in memory and whether it fits, without loading or downloading its weights, and returns
/// at once.
///
/// `options` says which model, as for mlxe_load_start(). `request` is a JSON object, or empty: context (positions, prompt
/// and answer together; the model's, but 4096 at most), prefill_step, kv_bits, kv_group_size, max_kv_size, device ("cpu"
/// or "gpu"; the GPU if there is one). Unknown keys are refused.
///
/// The result is a JSON object: name, model_type, supported, reason, parameters, bits, context_length, download_bytes,
/// memory (context, weights, kv_cache, activations, total), memory_total and memory_available (of the machine, or of what
/// a container or iOS allows this process), fits, largest_context. Sizes are in bytes; unknown values are null.
///
/// All arguments are copied. `callbacks` and `out_task` may be NULL; the task is the caller's, see mlxe_task_result().
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_estimate_start(
    options: *const mlxe_load_options_t,
    request: mlxe_str_t,
    callbacks: *const mlxe_json_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented. The callbacks come first, so that drop is called whatever else is wrong.
        unsafe {
            let callbacks = Callbacks::read(callbacks)?;
            let configuration = configuration(&options::read(required(options, "options")?, "options")?)?;
            let (device, request) = estimate_request(request.get("request")?)?;
            let task = estimate(configuration, device, request, callbacks)?;
            give(json_task(task), out_task)
        }
    })
}

fn estimate(
    configuration: crate::load::ModelConfiguration,
    device: Device,
    request: EstimateOptions,
    callbacks: Callbacks,
) -> Result<Task<String>> {
    #[cfg(feature = "hub")]
    if let Some(hub) = configuration.hub.clone() {
        let client = crate::hub::Client::new(hub)?;
        let cancelled = client.clone();
        let work = move || to_json(&fit::fit_with(&client, &configuration, device, &request)?);
        return background("mlx-estimate", callbacks, work, move || cancelled.cancel());
    }
    let work = move || to_json(&fit::fit(&configuration, device, &request)?);
    background("mlx-estimate", callbacks, work, || ())
}

fn estimate_request(json: &str) -> Result<(Device, EstimateOptions)> {
    let malformed = |e: serde_json::Error| Error::invalid_argument(format!("the request: {e}"));
    let mut value: Value = serde_json::from_str(if json.is_empty() { "{}" } else { json }).map_err(malformed)?;
    let device = match value.as_object_mut().and_then(|object| object.remove("device")) {
        None | Some(Value::Null) => Device::best(),
        Some(Value::String(name)) if name == "cpu" => Device::Cpu,
        Some(Value::String(name)) if name == "gpu" => Device::Gpu,
        Some(other) => return Err(Error::invalid_argument(format!("the request: device is {other}"))),
    };
    let options: EstimateOptions = serde_json::from_value(value).map_err(malformed)?;
    options.validate().map(|()| (device, options))
}

/// The catalogue of well-known models, smallest first: a JSON array of objects with id, name, short_name, parameters,
/// bits, architecture, context, default_prompt, extra_eos; and supported (whether this library has the architecture),
/// weight_bytes and fits (into the memory that is available now, or null). `out_json` receives text that the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_catalog_json(out_json: *mut *mut mlxe_string_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let place = unsafe { out(out_json, "out_json") }?;
        *place = Box::into_raw(mlxe_string_t::new(to_json(&fit::catalogue())?));
        Ok(())
    })
}

/// Adds entries to the catalogue of this process, or replaces those with the same id. `json` is an object with the keys
/// id to extra_eos of mlxe_catalog_json(), or an array of them; default_prompt and extra_eos may be left out.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT; entries before the one that is refused have been added.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_catalog_add(json: mlxe_str_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        catalog::add_json(unsafe { json.get("json") }?)
    })
}
