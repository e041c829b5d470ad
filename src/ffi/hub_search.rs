//! Finding models, knowing what they take, the catalogue.

use serde::Serialize;
use serde_json::Value;

use super::hub::{Work, start};
use super::load::configuration;
use super::{
    guard, mlxe_error_t, mlxe_hub_callbacks_t, mlxe_hub_t, mlxe_load_options_t, mlxe_str_t, mlxe_string_t, mlxe_task_t,
    out, required,
};
use crate::array::Device;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::load::{EstimateOptions, ModelConfiguration, ModelSource, fit};

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(e.to_string()))
}

/// Starts searching the Hugging Face Hub, or the mirror that the hub names, for models.
///
/// `query` is a JSON object, or empty: text, author, task, library ("mlx"), tags, languages, licence, gated,
/// architecture, size_class ("tiny" under 100 million parameters, "small" to 1 billion, "medium" to 7, "large" to 13,
/// "xlarge"), bits, modality ("text", "image", "audio", "embedding", "other"), min_bytes, max_bytes, fits_bytes,
/// min_downloads, min_likes, since ("2025-01-31"), supported, sort ("downloads", "likes", "trending", "created",
/// "modified", "quality"), limit (20), page. A model must match all given criteria; unknown keys are refused.
///
/// The result is a JSON object: `models`, each with id, architecture, supported, parameters, bits, weight_bytes,
/// memory_bytes, quality and more (unknown values are null); `next`, the `page` to continue with, or null; `examined`.
///
/// All arguments are copied. `callbacks` and `out_task` may be NULL; the caller owns the task, see mlxe_task_result().
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_search_start(
    hub: *const mlxe_hub_t,
    query: mlxe_str_t,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe { start("a search", callbacks, out_task, || search(&required(hub, "hub")?.hub, query.get("query")?)) }
}

fn search(hub: &Hub, query: &str) -> Result<Work> {
    let query = crate::hub::SearchQuery::from_json(query)?;
    let client = hub.client()?;
    Ok(Box::new(move |reporter| {
        let cancelled = client.clone();
        reporter.interruptible(move || to_json(&fit::search(&client, &query)?), || cancelled.cancel())
    }))
}

/// Starts estimating how much memory a model takes and whether it fits, without loading or downloading its weights.
///
/// `hub` and `options` say which model, as for mlxe_load_start(). `request` is a JSON object, or empty: context
/// (positions, prompt and answer together; default: the model's, at most 4096), prefill_step, kv_bits, kv_group_size,
/// max_kv_size, device ("cpu" or "gpu"; default: the GPU if there is one). Unknown keys are refused.
///
/// The result is a JSON object: name, model_type, supported, reason, parameters, bits, context_length, download_bytes,
/// memory (context, weights, kv_cache, activations, total), memory_total and memory_available (of the machine, or what
/// a container or iOS allows this process), fits, largest_context. Sizes are in bytes; unknown values are null.
///
/// All arguments are copied. `callbacks` and `out_task` may be NULL; the caller owns the task, see mlxe_task_result().
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_estimate_start(
    hub: *const mlxe_hub_t,
    options: *const mlxe_load_options_t,
    request: mlxe_str_t,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    // SAFETY: pointers as documented.
    unsafe {
        start("an estimate", callbacks, out_task, || {
            let (device, request) = estimate_request(request.get("request")?)?;
            estimate(configuration(hub, options)?, device, request)
        })
    }
}

fn estimate(configuration: ModelConfiguration, device: Device, request: EstimateOptions) -> Result<Work> {
    if let ModelSource::Hub { .. } = configuration.source {
        let client = configuration.hub_or_env()?.client()?;
        return Ok(Box::new(move |reporter| {
            let cancelled = client.clone();
            let work = move || to_json(&fit::fit_with(&client, &configuration, device, &request)?);
            reporter.interruptible(work, || cancelled.cancel())
        }));
    }
    Ok(Box::new(move |_| to_json(&fit::fit(&configuration, device, &request)?)))
}

fn estimate_request(json: &str) -> Result<(Device, EstimateOptions)> {
    let malformed = |e: serde_json::Error| Error::invalid_argument(format!("request: {e}"));
    let mut value: Value = serde_json::from_str(if json.is_empty() { "{}" } else { json }).map_err(malformed)?;
    let device = match value.as_object_mut().and_then(|object| object.remove("device")) {
        None | Some(Value::Null) => Device::best(),
        Some(Value::String(name)) if name == "cpu" => Device::Cpu,
        Some(Value::String(name)) if name == "gpu" => Device::Gpu,
        Some(other) => return Err(Error::invalid_argument(format!("request: device is {other}"))),
    };
    let options: EstimateOptions = serde_json::from_value(value).map_err(malformed)?;
    options.validate().map(|()| (device, options))
}

/// The hub's catalogue of well-known models, smallest first: a JSON array of objects with id, name, short_name,
/// parameters, bits, architecture, context, default_prompt, extra_eos; and supported (whether this library has the
/// architecture), weight_bytes and fits (whether it fits in the memory that is available now, or null). `out_json`
/// receives the text, which the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_catalog(
    hub: *const mlxe_hub_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (hub, place) = unsafe { (required(hub, "hub")?, out(out_json, "out_json")?) };
        *place = Box::into_raw(mlxe_string_t::new(to_json(&fit::catalogue(hub.hub.catalog()))?));
        Ok(())
    })
}

/// Adds entries to the hub's catalogue, or replaces those with the same id. Other hubs are not affected. `json` is an
/// object with the keys id to extra_eos of mlxe_hub_catalog(), or an array of them; default_prompt and extra_eos may be
/// left out.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT; entries before the refused one have been added.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_hub_catalog_add(hub: *const mlxe_hub_t, json: mlxe_str_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (hub, json) = unsafe { (required(hub, "hub")?, json.get("json")?) };
        hub.hub.catalog().add_json(json)
    })
}
