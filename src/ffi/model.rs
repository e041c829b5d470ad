//! Loaded models.

use super::{free, guard, mlxe_error_t, mlxe_string_t, mlxe_tokenizer_t, out, required};
use crate::engine::Model;
use crate::error::Error;

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

/// Releases a handle. The weights are freed with the last handle and generation. NULL is fine.
///
/// Any thread, also inside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_model_free(model: *mut mlxe_model_t) {
    // SAFETY: NULL or an owned model, as documented.
    unsafe { free(model) }
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
