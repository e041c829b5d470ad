//! Tokenizers and chat templates.

use std::path::Path;

use serde_json::Value;

use super::options::{self, Versioned};
use super::{free, guard, mlxe_error_t, mlxe_str_t, mlxe_string_t, mlxe_tokens_t, out, required, slice};
use crate::error::{Error, ErrorKind, Result};
use crate::tokenizer::{TemplateChoice, TemplateOptions, Tokenizer, TokenizerOptions, parse_template_data};

/// A tokenizer. Immutable. Free with mlxe_tokenizer_free().
pub struct mlxe_tokenizer_t(pub(super) Tokenizer);

/// Reads the tokenizer of a model's directory without loading the model.
///
/// `out_tokenizer` receives it; the caller owns it.
/// Errors: MLXE_ERROR_NOT_FOUND, MLXE_ERROR_IO, MLXE_ERROR_TOKENIZER, MLXE_ERROR_TEMPLATE.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_open(
    directory: mlxe_str_t,
    out_tokenizer: *mut *mut mlxe_tokenizer_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (directory, place) = unsafe { (directory.get("directory")?, out(out_tokenizer, "out_tokenizer")?) };
        let tokenizer = Tokenizer::from_directory(Path::new(directory), TokenizerOptions::default())?;
        *place = Box::into_raw(Box::new(mlxe_tokenizer_t(tokenizer)));
        Ok(())
    })
}

/// Frees a tokenizer. NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_free(tokenizer: *mut mlxe_tokenizer_t) {
    // SAFETY: NULL or an owned tokenizer, as documented.
    unsafe { free(tokenizer) }
}

/// The number of tokens; 0 if `tokenizer` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_vocab_size(tokenizer: *const mlxe_tokenizer_t) -> usize {
    // SAFETY: NULL or a live tokenizer, as documented.
    unsafe { tokenizer.as_ref() }.map_or(0, |t| t.0.vocab_size())
}

/// Whether there is a chat template; false if `tokenizer` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_has_chat_template(tokenizer: *const mlxe_tokenizer_t) -> bool {
    // SAFETY: NULL or a live tokenizer, as documented.
    unsafe { tokenizer.as_ref() }.is_some_and(|t| t.0.has_chat_template())
}

/// The tokens that end an answer. `out_tokens` receives them; the caller owns them.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_eos_tokens(
    tokenizer: *const mlxe_tokenizer_t,
    out_tokens: *mut *mut mlxe_tokens_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, place) = unsafe { (required(tokenizer, "tokenizer")?, out(out_tokens, "out_tokens")?) };
        *place = Box::into_raw(Box::new(mlxe_tokens_t { ids: tokenizer.0.eos_token_ids().to_vec() }));
        Ok(())
    })
}

/// Turns text into token ids.
///
/// `add_special_tokens` adds the tokens that the tokenizer puts around a text, such as beginning-of-sequence; pass
/// false for text from a chat template. `out_tokens` receives the ids; the caller owns them.
/// Errors: MLXE_ERROR_TOKENIZER.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_encode(
    tokenizer: *const mlxe_tokenizer_t,
    text: mlxe_str_t,
    add_special_tokens: bool,
    out_tokens: *mut *mut mlxe_tokens_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, text, place) =
            unsafe { (required(tokenizer, "tokenizer")?, text.get("text")?, out(out_tokens, "out_tokens")?) };
        let ids = tokenizer.0.encode(text, add_special_tokens)?;
        *place = Box::into_raw(Box::new(mlxe_tokens_t { ids }));
        Ok(())
    })
}

/// Turns text into token ids; special tokens in it are text: "<|im_end|>" becomes the tokens that spell it, not the one
/// that ends a message. For text from users that is put into a prompt. Added tokens that are not special ("<think>" in
/// many models) remain tokens.
///
/// Arguments and errors as for mlxe_tokenizer_encode(). The first text with special tokens makes a copy of the tokenizer,
/// which takes as much memory again and lives as long as it.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_encode_plain(
    tokenizer: *const mlxe_tokenizer_t,
    text: mlxe_str_t,
    add_special_tokens: bool,
    out_tokens: *mut *mut mlxe_tokens_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, text, place) =
            unsafe { (required(tokenizer, "tokenizer")?, text.get("text")?, out(out_tokens, "out_tokens")?) };
        let ids = tokenizer.0.encode_plain(text, add_special_tokens)?;
        *place = Box::into_raw(Box::new(mlxe_tokens_t { ids }));
        Ok(())
    })
}

/// The id of a token by its spelling in the vocabulary, such as "<|im_end|>". `out_id` receives it.
/// Errors: MLXE_ERROR_NOT_FOUND if there is no such token.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_token_id(
    tokenizer: *const mlxe_tokenizer_t,
    token: mlxe_str_t,
    out_id: *mut u32,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, token, place) =
            unsafe { (required(tokenizer, "tokenizer")?, token.get("token")?, out(out_id, "out_id")?) };
        *place =
            tokenizer.0.token_to_id(token).ok_or_else(|| Error::not_found(format!("there is no token {token:?}")))?;
        Ok(())
    })
}

/// The id of the token with a role: "bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token",
/// "mask_token", or one that the model names itself, such as "image_token". `out_id` receives it.
/// Errors: MLXE_ERROR_NOT_FOUND if no token has the role.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_role_id(
    tokenizer: *const mlxe_tokenizer_t,
    role: mlxe_str_t,
    out_id: *mut u32,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, role, place) =
            unsafe { (required(tokenizer, "tokenizer")?, role.get("role")?, out(out_id, "out_id")?) };
        *place = tokenizer.0.role_id(role).ok_or_else(|| Error::not_found(format!("no token is the {role}")))?;
        Ok(())
    })
}

/// All special tokens, in ascending order: those that mlxe_tokenizer_decode() can leave out. `out_tokens` receives them;
/// the caller owns them.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_special_tokens(
    tokenizer: *const mlxe_tokenizer_t,
    out_tokens: *mut *mut mlxe_tokens_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, place) = unsafe { (required(tokenizer, "tokenizer")?, out(out_tokens, "out_tokens")?) };
        *place = Box::into_raw(Box::new(mlxe_tokens_t { ids: tokenizer.0.special_token_ids().to_vec() }));
        Ok(())
    })
}

/// The bytes that a token adds to a text, not at its beginning. They need not be UTF-8: a token may be a part of a
/// character. Those of a special token are its name. `out_bytes` receives them; the caller owns them.
/// Errors: MLXE_ERROR_NOT_FOUND if there is no such token.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_token_bytes(
    tokenizer: *const mlxe_tokenizer_t,
    id: u32,
    out_bytes: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, place) = unsafe { (required(tokenizer, "tokenizer")?, out(out_bytes, "out_bytes")?) };
        let bytes = tokenizer.0.token_bytes(id).ok_or_else(|| Error::not_found(format!("there is no token {id}")))?;
        *place = Box::into_raw(mlxe_string_t::from_bytes(bytes));
        Ok(())
    })
}

/// Turns token ids into text.
///
/// `skip_special_tokens` leaves out tokens such as end-of-sequence. Ids that are not in the vocabulary are left out
/// too, because output layers may be larger than the vocabulary. `out_text` receives the text; the caller owns it.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_decode(
    tokenizer: *const mlxe_tokenizer_t,
    tokens: *const u32,
    count: usize,
    skip_special_tokens: bool,
    out_text: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, ids, place) =
            unsafe { (required(tokenizer, "tokenizer")?, slice(tokens, count, "tokens")?, out(out_text, "out_text")?) };
        *place = Box::into_raw(mlxe_string_t::new(tokenizer.0.decode(ids, skip_special_tokens)?));
        Ok(())
    })
}

/// How to render chat messages. Initialise with mlxe_template_options_init().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_template_options_t {
    /// sizeof(mlxe_template_options_t)
    pub struct_size: usize,
    /// A JSON array of tools (JSON schemas of functions); empty for none.
    pub tools_json: mlxe_str_t,
    /// A JSON array of documents; empty for none.
    pub documents_json: mlxe_str_t,
    /// A JSON object of additional template variables, e.g. {"enable_thinking": false}; empty for none.
    pub variables_json: mlxe_str_t,
    /// The name of the template, if there are several; empty for the default choice.
    pub name: mlxe_str_t,
    /// A template to use instead of the tokenizer's own; empty for none.
    pub chat_template: mlxe_str_t,
    /// Ends the text where the answer is to begin. On by default.
    pub add_generation_prompt: bool,
    /// Leaves the last message open, to be continued.
    pub continue_final_message: bool,
    /// mlxe_tokenizer_encode_chat() takes special tokens in messages, tools and documents for tokens, as it takes those
    /// of the template. For data that is trusted, and has them on purpose.
    pub special_tokens_in_data: bool,
}

// SAFETY: repr(C), begins with the size; C's bool has no forbidden patterns.
unsafe impl Versioned for mlxe_template_options_t {
    const FIRST_SIZE: usize = 96;

    fn defaults() -> Self {
        mlxe_template_options_t {
            struct_size: std::mem::size_of::<Self>(),
            tools_json: mlxe_str_t::EMPTY,
            documents_json: mlxe_str_t::EMPTY,
            variables_json: mlxe_str_t::EMPTY,
            name: mlxe_str_t::EMPTY,
            chat_template: mlxe_str_t::EMPTY,
            add_generation_prompt: true,
            continue_final_message: false,
            special_tokens_in_data: false,
        }
    }
}

/// Sets all options to their defaults. `size` is the sizeof of the struct; no more than that is written. Does nothing
/// if `options` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_template_options_init(options: *mut mlxe_template_options_t, size: usize) {
    // SAFETY: the caller's struct is that large.
    unsafe { options::init(options, size) }
}

/// Renders chat messages as a prompt in the format that the model was trained on.
///
/// `messages_json` is a JSON array of objects with "role" and "content". JSON is read as Python reads it: integers keep all
/// their digits. It may nest 500 deep; half a surrogate pair in a string is an error, since no tokenizer takes it. `options`
/// may be NULL. `out_text` receives the text, which the caller owns; encode it without special tokens. Text does not say
/// which special tokens in it are the template's and which a user wrote: for a prompt from untrusted messages use
/// mlxe_tokenizer_encode_chat().
/// Errors: MLXE_ERROR_TEMPLATE (no template, or it refused the messages), MLXE_ERROR_INVALID_ARGUMENT (broken JSON).
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_apply_chat_template(
    tokenizer: *const mlxe_tokenizer_t,
    messages_json: mlxe_str_t,
    options: *const mlxe_template_options_t,
    out_text: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, messages, options, place) = unsafe {
            (
                required(tokenizer, "tokenizer")?,
                json(messages_json, "messages_json")?.unwrap_or(Value::Array(Vec::new())),
                template_options(&options::read(options, "options")?)?,
                out(out_text, "out_text")?,
            )
        };
        let text = tokenizer.0.apply_chat_template(&messages, &options).map_err(in_c)?;
        *place = Box::into_raw(mlxe_string_t::new(text));
        Ok(())
    })
}

/// Renders chat messages and encodes them: a prompt. Special tokens in messages, tools and documents are text, so that
/// "<|im_end|>" in a message cannot end it; `special_tokens_in_data` turns that off.
///
/// Arguments and errors as for mlxe_tokenizer_apply_chat_template() and mlxe_tokenizer_encode_plain(). `out_tokens`
/// receives the ids; the caller owns them.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_tokenizer_encode_chat(
    tokenizer: *const mlxe_tokenizer_t,
    messages_json: mlxe_str_t,
    options: *const mlxe_template_options_t,
    out_tokens: *mut *mut mlxe_tokens_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (tokenizer, messages, options, place) = unsafe {
            (
                required(tokenizer, "tokenizer")?,
                json(messages_json, "messages_json")?.unwrap_or(Value::Array(Vec::new())),
                template_options(&options::read(options, "options")?)?,
                out(out_tokens, "out_tokens")?,
            )
        };
        let ids = tokenizer.0.encode_chat(&messages, &options).map_err(in_c)?;
        *place = Box::into_raw(Box::new(mlxe_tokens_t { ids }));
        Ok(())
    })
}

/// An error about what C calls otherwise.
fn in_c(error: Error) -> Error {
    let names = [("messages", "messages_json"), ("documents", "options.documents_json")];
    let found = names.iter().find_map(|(ours, theirs)| Some((error.message().strip_prefix(ours)?, theirs)));
    match found {
        Some((rest, name)) if error.kind() == ErrorKind::InvalidArgument => {
            Error::invalid_argument(format!("{name}{rest}"))
        }
        _ => error,
    }
}

/// # Safety
/// The strings in `options` are valid.
unsafe fn template_options(options: &mlxe_template_options_t) -> Result<TemplateOptions> {
    // SAFETY: the caller's promise.
    unsafe {
        let variables = match json(options.variables_json, "options.variables_json")? {
            None => Default::default(),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(Error::invalid_argument("options.variables_json is not a JSON object")),
        };
        let name = options.name.get_optional("options.name")?;
        let template = match (options.chat_template.get_optional("options.chat_template")?, name) {
            (Some(_), Some(_)) => return Err(Error::invalid_argument("options: both name and chat_template are set")),
            (Some(source), None) => TemplateChoice::Inline(source.to_owned()),
            (None, Some(name)) => TemplateChoice::Named(name.to_owned()),
            (None, None) => TemplateChoice::Auto,
        };
        Ok(TemplateOptions {
            tools: json(options.tools_json, "options.tools_json")?,
            documents: json(options.documents_json, "options.documents_json")?,
            add_generation_prompt: options.add_generation_prompt && !options.continue_final_message,
            continue_final_message: options.continue_final_message.then(|| "content".to_owned()),
            special_tokens_in_data: options.special_tokens_in_data,
            template,
            variables,
            ..Default::default()
        })
    }
}

/// # Safety
/// The string is valid.
unsafe fn json(text: mlxe_str_t, name: &str) -> Result<Option<Value>> {
    // SAFETY: the caller's promise.
    let Some(text) = (unsafe { text.get_optional(name) })? else { return Ok(None) };
    parse_template_data(text, name).map(Some)
}
