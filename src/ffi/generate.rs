//! Generating text.

use std::ffi::{c_char, c_void};

use super::callbacks::{Listener, Translate, callbacks};
use super::options;
use super::sampler::guides;
use super::{
    TextBuffer, guard, mlxe_error_t, mlxe_generate_options_t, mlxe_model_t, mlxe_opt_float_t, mlxe_sampler_t,
    mlxe_string_t, mlxe_task_t, out, required, slice,
};
use crate::engine::Observer;
use crate::error::{Error, Result};
use crate::generate::{GenerationEvent, GenerationStats, ReuseEnd, StopReason, TokenInfo};

/// A token and a number: a bias, or a log-probability.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_token_value_t {
    /// The token's id.
    pub token: u32,
    /// The number that goes with it.
    pub value: f32,
}

/// A part of the prompt was processed.
pub const MLXE_GENERATION_PREFILL: i32 = 1;
/// A token was generated; `text` has the complete characters that are now certain, possibly none.
pub const MLXE_GENERATION_TOKEN: i32 = 2;
/// `text` had been held back, because it might have begun a stop string or was an incomplete character.
pub const MLXE_GENERATION_TEXT: i32 = 3;

/// What happened in a generation. The answer is the concatenated `text` of all events. Valid during the call it is
/// passed to, as is everything it points to; mlxe_generation_event_clone() keeps it. Ignore kinds you do not know.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_generation_event_t {
    /// sizeof the struct in the library; later versions append fields.
    pub struct_size: usize,
    /// MLXE_GENERATION_*
    pub kind: i32,
    /// With MLXE_GENERATION_TOKEN: the token's id.
    pub token: u32,
    /// UTF-8, NUL-terminated; empty with MLXE_GENERATION_PREFILL.
    pub text: *const c_char,
    /// Its length in bytes, without the NUL.
    pub text_len: usize,
    /// With MLXE_GENERATION_TOKEN, if requested: the natural logarithm of the token's probability, of the logits
    /// that `logprobs_mode` says.
    pub logprob: mlxe_opt_float_t,
    /// If requested: the most likely tokens with their log-probabilities; otherwise NULL.
    pub top: *const mlxe_token_value_t,
    /// How many.
    pub top_count: usize,
    /// With MLXE_GENERATION_PREFILL: tokens of the prompt processed so far.
    pub prompt_processed: usize,
    /// With MLXE_GENERATION_PREFILL: tokens of the prompt.
    pub prompt_total: usize,
}

/// The model ended its answer.
pub const MLXE_STOP_EOS: i32 = 1;
/// A stop string appeared.
pub const MLXE_STOP_STRING: i32 = 2;
/// `max_tokens` was reached.
pub const MLXE_STOP_LENGTH: i32 = 3;
/// The generation was cancelled.
pub const MLXE_STOP_CANCELLED: i32 = 4;
/// The context is full.
pub const MLXE_STOP_CONTEXT_FULL: i32 = 5;
/// `timeout_seconds` were over.
pub const MLXE_STOP_TIMEOUT: i32 = 6;

/// The prefix store is off.
pub const MLXE_REUSE_DISABLED: i32 = 0;
/// Nothing is stored yet for this model with these cache options.
pub const MLXE_REUSE_NOTHING_STORED: i32 = 1;
/// The stored states continue differently.
pub const MLXE_REUSE_DIFFERS: i32 = 2;
/// Everything was reused that can be: the last token of a prompt is always processed.
pub const MLXE_REUSE_WHOLE_PROMPT: i32 = 3;
/// Only whole blocks are reused, so that results are exactly the same.
pub const MLXE_REUSE_BLOCK: i32 = 4;
/// A stored state begins like the prompt, but cannot go back to the position where they diverge.
pub const MLXE_REUSE_NOT_TRIMMABLE: i32 = 5;
/// A state that begins like the prompt has been freed.
pub const MLXE_REUSE_EVICTED: i32 = 6;

/// Statistics of a generation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_generation_stats_t {
    /// sizeof(mlxe_generation_stats_t), set by the caller if the caller provides the struct.
    pub struct_size: usize,
    /// Tokens of the prompt that were processed or reused.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Seconds from the start until the engine began to work on it.
    pub queue_seconds: f64,
    /// Seconds of work on the prompt. While others are decoded in between, their time is not counted.
    pub prompt_seconds: f64,
    /// Seconds from the end of the prompt until the end.
    pub generation_seconds: f64,
    /// Seconds from the start, queue included, to the first token; negative if there was none.
    pub time_to_first_token: f64,
    /// Prompt tokens processed per second, not counting reused ones.
    pub prompt_tokens_per_second: f64,
    /// Answer tokens per second.
    pub generation_tokens_per_second: f64,
    /// The most bytes MLX has held so far, in the whole process.
    pub peak_memory_bytes: u64,
    /// The seed that was used.
    pub seed: u64,
    /// Why it ended: MLXE_STOP_*.
    pub stop_reason: i32,
    /// Why no more of the prompt was reused: MLXE_REUSE_*.
    pub reuse_end: i32,
    /// Tokens of the prompt whose state was reused from an earlier generation instead of processed.
    pub reused_tokens: usize,
    /// Length in tokens of the longest prefix that the prompt shares with the state of an earlier generation.
    pub matched_tokens: usize,
    /// Tokens that were proposed by speculation.
    pub proposed_tokens: usize,
    /// Those of them that were accepted.
    pub accepted_tokens: usize,
}

fn stats(s: &GenerationStats) -> mlxe_generation_stats_t {
    mlxe_generation_stats_t {
        struct_size: std::mem::size_of::<mlxe_generation_stats_t>(),
        prompt_tokens: s.prompt_tokens,
        generated_tokens: s.generated_tokens,
        queue_seconds: s.queue_seconds,
        prompt_seconds: s.prompt_seconds,
        generation_seconds: s.generation_seconds,
        time_to_first_token: s.time_to_first_token.unwrap_or(-1.0),
        prompt_tokens_per_second: s.prompt_tokens_per_second,
        generation_tokens_per_second: s.generation_tokens_per_second,
        peak_memory_bytes: s.peak_memory_bytes as u64,
        seed: s.seed,
        stop_reason: match s.stop_reason {
            StopReason::Eos => MLXE_STOP_EOS,
            StopReason::StopString => MLXE_STOP_STRING,
            StopReason::Length => MLXE_STOP_LENGTH,
            StopReason::Cancelled => MLXE_STOP_CANCELLED,
            StopReason::ContextFull => MLXE_STOP_CONTEXT_FULL,
            StopReason::Timeout => MLXE_STOP_TIMEOUT,
        },
        reuse_end: match s.reuse_end {
            ReuseEnd::Disabled => MLXE_REUSE_DISABLED,
            ReuseEnd::NothingStored => MLXE_REUSE_NOTHING_STORED,
            ReuseEnd::Differs => MLXE_REUSE_DIFFERS,
            ReuseEnd::WholePrompt => MLXE_REUSE_WHOLE_PROMPT,
            ReuseEnd::Block => MLXE_REUSE_BLOCK,
            ReuseEnd::NotTrimmable => MLXE_REUSE_NOT_TRIMMABLE,
            ReuseEnd::Evicted => MLXE_REUSE_EVICTED,
        },
        reused_tokens: s.reused_tokens,
        matched_tokens: s.matched_tokens,
        proposed_tokens: s.proposed_tokens,
        accepted_tokens: s.accepted_tokens,
    }
}

/// # Safety
/// `place` is NULL or points to a struct whose `struct_size` is set.
pub(super) unsafe fn write_stats(s: &GenerationStats, place: *mut mlxe_generation_stats_t) -> Result<()> {
    // SAFETY: the caller's promise; no more than the size is read of a struct that may be too small.
    let size = *unsafe { required(place.cast_const().cast::<usize>(), "out_stats") }?;
    let ours = std::mem::size_of::<mlxe_generation_stats_t>();
    if size < ours {
        return Err(Error::invalid_argument(format!("out_stats.struct_size is {size}, not {ours}")));
    }
    // SAFETY: the caller's struct is at least as large.
    unsafe { place.write(mlxe_generation_stats_t { struct_size: size, ..stats(s) }) };
    Ok(())
}

/// Callbacks of a generation. All functions may be NULL. They are called on the engine's thread, one at a time; slow
/// callbacks delay everything on that engine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_generate_callbacks_t {
    /// sizeof(mlxe_generate_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// Something happened. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_generation_event_t) -> i32>,
    /// The generation is over. `stats` and `error` are borrowed for the call; one of them is NULL. A cancelled
    /// generation has statistics.
    pub on_done: Option<
        unsafe extern "C" fn(user_data: *mut c_void, stats: *const mlxe_generation_stats_t, error: *const mlxe_error_t),
    >,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_generate_callbacks_t, mlxe_generation_event_t, *const mlxe_generation_stats_t);

/// Room for what an event points to.
#[derive(Default)]
pub(super) struct EventBuffer {
    text: TextBuffer,
    top: Vec<mlxe_token_value_t>,
}

impl EventBuffer {
    pub fn set(&mut self, event: &GenerationEvent) -> mlxe_generation_event_t {
        let none = TokenInfo::default();
        let (kind, token, text, prefill) = match event {
            GenerationEvent::Prefill { processed, total } => (MLXE_GENERATION_PREFILL, &none, "", (*processed, *total)),
            GenerationEvent::Token { token, text } => (MLXE_GENERATION_TOKEN, token, text.as_str(), (0, 0)),
            GenerationEvent::Text { text } => (MLXE_GENERATION_TEXT, &none, text.as_str(), (0, 0)),
        };
        self.top.clear();
        self.top.extend(token.top.iter().map(|&(token, value)| mlxe_token_value_t { token, value }));
        mlxe_generation_event_t {
            struct_size: std::mem::size_of::<mlxe_generation_event_t>(),
            kind,
            token: token.id,
            text: self.text.set(text),
            text_len: text.len(),
            logprob: token.logprob.into(),
            top: if self.top.is_empty() { std::ptr::null() } else { self.top.as_ptr() },
            top_count: self.top.len(),
            prompt_processed: prefill.0,
            prompt_total: prefill.1,
        }
    }
}

/// Events and results of generations.
#[derive(Default)]
pub(super) struct Generations {
    events: EventBuffer,
    stats: Option<mlxe_generation_stats_t>,
}

impl Translate for Generations {
    type Callbacks = mlxe_generate_callbacks_t;
    type Event = GenerationEvent;
    type Result = GenerationStats;

    fn event(&mut self, event: &GenerationEvent) -> mlxe_generation_event_t {
        self.events.set(event)
    }

    fn result(&mut self, result: Option<&GenerationStats>) -> *const mlxe_generation_stats_t {
        self.stats = result.map(stats);
        self.stats.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// What the engine calls in place of a Rust observer, for benches/streaming.rs.
#[doc(hidden)]
pub fn generation_observer(
    callbacks: mlxe_generate_callbacks_t,
) -> impl Observer<GenerationEvent, GenerationStats> + use<> {
    Listener::<Generations>::new(callbacks)
}

/// Starts generating after a prompt and returns immediately.
///
/// `prompt` points to `prompt_len` token ids. They are copied, as are `options` (NULL for the defaults) and what they
/// point to. `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives the task, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, MLXE_ERROR_CONTEXT_FULL, MLXE_ERROR_POISONED, MLXE_ERROR_BUSY if as many
/// generations wait as the engine's `max_queue` allows. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generate_start(
    model: *const mlxe_model_t,
    prompt: *const u32,
    prompt_len: usize,
    options: *const mlxe_generate_options_t,
    callbacks: *const mlxe_generate_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let listener = unsafe { Listener::<Generations>::read(callbacks) }?;
        // SAFETY: pointers as documented.
        let (model, prompt, options) = unsafe {
            (
                required(model, "model")?,
                slice(prompt, prompt_len, "prompt")?.to_vec(),
                options::read(options, "options")?.request()?,
            )
        };
        let task = model.0.generate(prompt, options, listener)?;
        // SAFETY: pointers as documented.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// Like mlxe_generate_start(), but `sampler` chooses the tokens, in place of the options' filters, temperature and draw. This
/// sequence is slower then, not others that run beside it; speculation stays exact. With `logprobs`, log-probabilities are
/// those before it chooses.
///
/// `sampler` is copied; its `drop` is called exactly once, also where the call fails.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generate_guided_start(
    model: *const mlxe_model_t,
    prompt: *const u32,
    prompt_len: usize,
    options: *const mlxe_generate_options_t,
    sampler: *const mlxe_sampler_t,
    callbacks: *const mlxe_generate_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that both are dropped whatever else is wrong.
        // SAFETY: pointers as documented.
        let (listener, guides) = unsafe { (Listener::<Generations>::read(callbacks), guides(sampler)) };
        // SAFETY: pointers as documented.
        let (model, prompt, options) = unsafe {
            (
                required(model, "model")?,
                slice(prompt, prompt_len, "prompt")?.to_vec(),
                options::read(options, "options")?.request()?,
            )
        };
        let task = model.0.generate_guided(prompt, options, guides?, listener?)?;
        // SAFETY: pointers as documented.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// What a generation with these options would do: a JSON object with the value of every option, set or default; null
/// where it depends on the generation (the seed, the number of tokens, the prefill step).
///
/// `options` may be NULL for the defaults. `out_json` receives the text, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_generate_options_json(
    model: *const mlxe_model_t,
    options: *const mlxe_generate_options_t,
    out_json: *mut *mut mlxe_string_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: pointers as documented.
        let (model, options, place) = unsafe {
            (required(model, "model")?, options::read(options, "options")?.request()?, out(out_json, "out_json")?)
        };
        options.validate()?;
        let json = serde_json::to_string(&model.0.effective_options(&options));
        *place = Box::into_raw(mlxe_string_t::new(json.map_err(|e| Error::internal(e.to_string()))?));
        Ok(())
    })
}

/// Waits for a generation and copies its statistics to `out_stats`, whose struct_size must be set.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a
/// generation.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_stats(
    task: *const mlxe_task_t,
    out_stats: *mut mlxe_generation_stats_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        unsafe { write_stats(&mlxe_task_t::of::<GenerationStats>(task, "a generation")?.wait()?, out_stats) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::options::Versioned;
    use crate::generate::GenerateOptions;

    /// Nothing given in C is nothing given in Rust.
    #[test]
    fn defaults_agree() {
        // SAFETY: the defaults point to nothing.
        let request = unsafe { mlxe_generate_options_t::defaults().request() }.unwrap();
        assert_eq!(request, GenerateOptions::default());
    }

    /// What fields say is what the same keys say in JSON.
    #[test]
    fn fields_and_json_agree() {
        let json = r#"{"min_tokens_to_keep": 2, "presence_context_size": 7, "frequency_context_size": 8,
            "dry_sequence_breakers": ["\n", "b"], "seed": 18446744073709551615, "typical_p": 0.1, "ignore_eos": true,
            "logit_bias": {"3": -1.5}, "extra_eos": [4], "kv_bits": 4, "dry_penalty_last_n": 9}"#;
        let (texts, bias, eos) = (["\n", "b"], mlxe_token_value_t { token: 3, value: -1.5 }, [4]);
        let texts = texts.map(|t| super::super::mlxe_str_t { data: t.as_ptr().cast(), len: t.len() });
        let int = |value| super::super::mlxe_opt_int_t { given: true, value };
        let fields = mlxe_generate_options_t {
            min_tokens_to_keep: int(2),
            presence_context_size: int(7),
            frequency_context_size: int(8),
            dry_sequence_breakers: texts.as_ptr(),
            dry_sequence_breakers_count: 2,
            seed: super::super::mlxe_opt_u64_t { given: true, value: u64::MAX },
            typical_p: mlxe_opt_float_t { given: true, value: 0.1 },
            ignore_eos: true,
            logit_bias: &raw const bias,
            logit_bias_count: 1,
            extra_eos: eos.as_ptr(),
            extra_eos_count: 1,
            kv_bits: int(4),
            dry_penalty_last_n: int(9),
            ..Versioned::defaults()
        };
        // SAFETY: the lists are there.
        let request = unsafe { fields.request() }.unwrap();
        assert_eq!(request, serde_json::from_str(json).unwrap());
        // A list of nothing is not the same as none.
        let none = mlxe_generate_options_t { dry_sequence_breakers: texts.as_ptr(), ..Versioned::defaults() };
        // SAFETY: as above.
        assert_eq!(unsafe { none.request() }.unwrap().dry_sequence_breakers, Some(vec![]));
    }

    /// Sizes change by intention only.
    #[test]
    fn sizes() {
        use std::mem::size_of;
        assert_eq!(size_of::<mlxe_generate_callbacks_t>(), 40);
        assert_eq!(size_of::<super::super::mlxe_load_callbacks_t>(), 40);
        assert_eq!(size_of::<super::super::mlxe_template_options_t>(), 96);
    }
}
