//! Loaded models.

use serde_json::json;

use super::callbacks::Listener;
use super::hub::HubWork;
use super::{
    free, guard, mlxe_error_t, mlxe_hub_callbacks_t, mlxe_string_t, mlxe_task_t, mlxe_tokenizer_t, out, required,
};
use crate::engine::{Control, Model, Observer};
use crate::error::{Error, Result};

/// A loaded model. Free with mlxe_model_free(); generations keep it alive, so handles can be freed in any order.
pub struct mlxe_model_t(pub(super) Model);

impl mlxe_model_t {
    pub(super) fn into_raw(model: Model) -> *mut Self {
        Box::into_raw(Box::new(mlxe_model_t(model)))
    }
}

/// Another handle to the same model. `out_model` receives it; the caller owns it.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_clone(
    model: *const mlxe_model_t,
    out_model: *mut *mut mlxe_model_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, place) = unsafe { (required(model, "model")?, out(out_model, "out_model")?) };
        *place = mlxe_model_t::into_raw(model.0.clone());
        Ok(())
    })
}

/// Releases a handle. The weights are freed after the last handle and generation: this may return before that, and
/// mlxe_model_unload_start() says when it is done. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_free(model: *mut mlxe_model_t) {
    // SAFETY: NULL or an owned model, as documented.
    unsafe { free(model) }
}

/// Unloads a model although handles are left: generations of it end as cancelled, and functions that compute with it
/// fail with MLXE_ERROR_INVALID_ARGUMENT. When the task is over its memory is free, so that another model can be loaded
/// without room for both. mlxe_model_free() alone returns before that.
///
/// `callbacks` may be NULL. They are called on the engine's thread; there are no events, and the JSON that on_done gets
/// is an object with `freed_bytes`. `out_task` may be NULL; otherwise it receives the task, which the caller owns; its
/// result is that of mlxe_task_wait(). The handle stays to be freed.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_unload_start(
    model: *const mlxe_model_t,
    callbacks: *const mlxe_hub_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let listener = unsafe { Listener::<HubWork>::read(callbacks) }?;
        // SAFETY: as documented.
        let task = unsafe { required(model, "model") }?.0.unload(Unloaded(listener));
        // SAFETY: as documented.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// Says what was freed as JSON.
struct Unloaded(Listener<HubWork>);

impl Observer<(), u64> for Unloaded {
    fn event(&mut self, (): &()) -> Control {
        Control::Continue
    }

    fn done(&mut self, result: &Result<u64>) {
        self.0.done(&result.clone().map(|freed| json!({"freed_bytes": freed}).to_string()));
    }
}

/// Facts about a model as a JSON object: name, directory, model_type, alias_of, kind, parameters, quantization (mode,
/// bits, group_size, or null), context_length, vocab_size, layers, hidden_size, weight_bytes, weight_files,
/// has_chat_template, chat_template_error, eos_token_ids, device,
/// load_seconds. Later versions may add keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_info_json(
    model: *const mlxe_model_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, place) = unsafe { (required(model, "model")?, out(out_json, "out_json")?) };
        let json = serde_json::to_string(model.0.info()).map_err(|e| Error::internal(e.to_string()))?;
        *place = Box::into_raw(mlxe_string_t::new(json));
        Ok(())
    })
}

/// The model's config.json, as read.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_config_json(
    model: *const mlxe_model_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, place) = unsafe { (required(model, "model")?, out(out_json, "out_json")?) };
        *place = Box::into_raw(mlxe_string_t::new(model.0.config().to_string()));
        Ok(())
    })
}

/// The model's tokenizer. `out_tokenizer` receives it; the caller owns it, and it may outlive the model.
///
/// Any thread. Errors: MLXE_ERROR_NOT_FOUND if the model was loaded without one.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_tokenizer(
    model: *const mlxe_model_t,
    out_tokenizer: *mut *mut mlxe_tokenizer_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, place) = unsafe { (required(model, "model")?, out(out_tokenizer, "out_tokenizer")?) };
        let tokenizer =
            model.0.tokenizer().ok_or_else(|| Error::not_found("the model was loaded without a tokenizer"))?;
        *place = Box::into_raw(Box::new(mlxe_tokenizer_t(tokenizer.clone())));
        Ok(())
    })
}

/// The supported values of model_type as a JSON array of objects: model_type, kind, alias_of. Later versions may add
/// keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_supported_models_json(out_json: *mut *mut mlxe_string_t) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let place = unsafe { out(out_json, "out_json") }?;
        *place = Box::into_raw(mlxe_string_t::new(crate::models::registry::to_json().to_string()));
        Ok(())
    })
}
