//! How likely given tokens are: scores, and logits.

use std::ffi::c_void;
use std::sync::Arc;

use super::callbacks::{Listener, Translate, callbacks};
use super::{free, guard, mlxe_error_t, mlxe_model_t, mlxe_task_t, out, required, slice};
use crate::engine::{Logits, ScoreEvent, Scores};

/// A part of the tokens was processed. Valid during the call it is passed to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_score_event_t {
    /// sizeof the struct in the library; later versions append fields.
    pub struct_size: usize,
    /// Tokens processed so far.
    pub processed: usize,
    /// Tokens to process.
    pub total: usize,
}

/// How likely a continuation is, token by token. Free with mlxe_scores_free().
pub struct mlxe_scores_t(Arc<Scores>);

/// Logits, one row a position. Free with mlxe_logits_free().
pub struct mlxe_logits_t(Arc<Logits>);

/// Callbacks of mlxe_score_start(). All functions may be NULL. They are called on the engine's thread, one at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_score_callbacks_t {
    /// sizeof(mlxe_score_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// A part was processed. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_score_event_t) -> i32>,
    /// It is over. `scores` and `error` are borrowed for the call; one of them is NULL.
    pub on_done:
        Option<unsafe extern "C" fn(user_data: *mut c_void, scores: *const mlxe_scores_t, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_score_callbacks_t, mlxe_score_event_t, *const mlxe_scores_t);

/// Callbacks of mlxe_logits_start(). All functions may be NULL. They are called on the engine's thread, one at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_logits_callbacks_t {
    /// sizeof(mlxe_logits_callbacks_t)
    pub struct_size: usize,
    /// Passed to all callbacks.
    pub user_data: *mut c_void,
    /// A part was processed. Return MLXE_CONTINUE or MLXE_CANCEL.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const mlxe_score_event_t) -> i32>,
    /// It is over. `logits` and `error` are borrowed for the call; one of them is NULL.
    pub on_done:
        Option<unsafe extern "C" fn(user_data: *mut c_void, logits: *const mlxe_logits_t, error: *const mlxe_error_t)>,
    /// Nothing uses `user_data` any more.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

callbacks!(mlxe_logits_callbacks_t, mlxe_score_event_t, *const mlxe_logits_t);

fn score_event(event: &ScoreEvent) -> mlxe_score_event_t {
    let struct_size = std::mem::size_of::<mlxe_score_event_t>();
    mlxe_score_event_t { struct_size, processed: event.processed, total: event.total }
}

/// Events and results of scores.
#[derive(Default)]
struct ScoreTasks(Option<mlxe_scores_t>);

impl Translate for ScoreTasks {
    type Callbacks = mlxe_score_callbacks_t;
    type Event = ScoreEvent;
    type Result = Arc<Scores>;

    fn event(&mut self, event: &ScoreEvent) -> mlxe_score_event_t {
        score_event(event)
    }

    fn result(&mut self, result: Option<&Arc<Scores>>) -> *const mlxe_scores_t {
        self.0 = result.cloned().map(mlxe_scores_t);
        self.0.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// Events and results of logits.
#[derive(Default)]
struct LogitsTasks(Option<mlxe_logits_t>);

impl Translate for LogitsTasks {
    type Callbacks = mlxe_logits_callbacks_t;
    type Event = ScoreEvent;
    type Result = Arc<Logits>;

    fn event(&mut self, event: &ScoreEvent) -> mlxe_score_event_t {
        score_event(event)
    }

    fn result(&mut self, result: Option<&Arc<Logits>>) -> *const mlxe_logits_t {
        self.0 = result.cloned().map(mlxe_logits_t);
        self.0.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// Starts computing how likely `continuation` is after `prompt`, and returns immediately: the log-probability of each of
/// its tokens, of the logits as the model gives them, at temperature 1. Memory stays bounded, whatever the length.
///
/// Token ids are copied. For the perplexity of a whole text the prompt is its first token. `callbacks` may be NULL.
/// `out_task` may be NULL; otherwise it receives the task, which the caller owns; mlxe_task_scores() returns its result.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, also if one of them is empty; MLXE_ERROR_CONTEXT_FULL, MLXE_ERROR_POISONED.
/// Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_score_start(
    model: *const mlxe_model_t,
    prompt: *const u32,
    prompt_len: usize,
    continuation: *const u32,
    continuation_len: usize,
    callbacks: *const mlxe_score_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let listener = unsafe { Listener::<ScoreTasks>::read(callbacks) }?;
        // SAFETY: pointers as documented.
        let (model, prompt, continuation) = unsafe {
            (
                required(model, "model")?,
                slice(prompt, prompt_len, "prompt")?.to_vec(),
                slice(continuation, continuation_len, "continuation")?.to_vec(),
            )
        };
        let task = model.0.score_observed(prompt, continuation, listener)?;
        // SAFETY: pointers as documented.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// Starts computing the logits of chosen positions of `tokens`, and returns immediately: those at position 0 are of the
/// token that may follow the first one.
///
/// `positions` are in ascending order; NULL with a `positions_len` of 0 for all of them. Tokens and positions are copied.
/// `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives the task, which the caller owns;
/// mlxe_task_logits() returns its result.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, also for more than 2^28 values; MLXE_ERROR_POISONED. Everything else is
/// reported by the task.
///
/// Any thread, also inside callbacks.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_logits_start(
    model: *const mlxe_model_t,
    tokens: *const u32,
    tokens_len: usize,
    positions: *const usize,
    positions_len: usize,
    callbacks: *const mlxe_logits_callbacks_t,
    out_task: *mut *mut mlxe_task_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // First of all, so that drop is called whatever else is wrong.
        // SAFETY: pointers as documented.
        let listener = unsafe { Listener::<LogitsTasks>::read(callbacks) }?;
        // SAFETY: pointers as documented.
        let (model, tokens, positions) = unsafe {
            (
                required(model, "model")?,
                slice(tokens, tokens_len, "tokens")?.to_vec(),
                slice(positions, positions_len, "positions")?.to_vec(),
            )
        };
        let positions = if positions.is_empty() { (0..tokens.len()).collect() } else { positions };
        let task = model.0.logits_at(tokens, positions, listener)?;
        // SAFETY: pointers as documented.
        unsafe { mlxe_task_t::give(task, out_task) }
        Ok(())
    })
}

/// Waits for a score and returns its result, which the caller owns.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a score.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_scores(
    task: *const mlxe_task_t,
    out_scores: *mut *mut mlxe_scores_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, place) =
            unsafe { (mlxe_task_t::of::<Arc<Scores>>(task, "a score")?, out(out_scores, "out_scores")?) };
        *place = Box::into_raw(Box::new(mlxe_scores_t(task.wait()?)));
        Ok(())
    })
}

/// Waits for logits and returns them; the caller owns them.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if the task is another.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_task_logits(
    task: *const mlxe_task_t,
    out_logits: *mut *mut mlxe_logits_t,
) -> *mut mlxe_error_t {
    guard(|| {
        // SAFETY: as documented.
        let (task, place) =
            unsafe { (mlxe_task_t::of::<Arc<Logits>>(task, "logits")?, out(out_logits, "out_logits")?) };
        *place = Box::into_raw(Box::new(mlxe_logits_t(task.wait()?)));
        Ok(())
    })
}

/// Tokens of the continuation; 0 if `scores` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_len(scores: *const mlxe_scores_t) -> usize {
    // SAFETY: NULL or live scores, as documented.
    unsafe { scores.as_ref() }.map_or(0, |s| s.0.logprobs.len())
}

/// The natural log-probability of each token of the continuation, given everything before it. Borrowed: valid until the
/// scores are freed. NULL if `scores` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_logprobs(scores: *const mlxe_scores_t) -> *const f32 {
    // SAFETY: NULL or live scores, as documented.
    unsafe { scores.as_ref() }.map_or(std::ptr::null(), |s| s.0.logprobs.as_ptr())
}

/// The token that the model finds most likely in the place of each of the continuation: where all are equal, it is what a
/// generation at temperature 0 gives. Borrowed as mlxe_scores_logprobs().
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_most_likely(scores: *const mlxe_scores_t) -> *const u32 {
    // SAFETY: NULL or live scores, as documented.
    unsafe { scores.as_ref() }.map_or(std::ptr::null(), |s| s.0.most_likely.as_ptr())
}

/// The log-probability of the whole continuation: the sum of mlxe_scores_logprobs(). 0 if `scores` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_total(scores: *const mlxe_scores_t) -> f64 {
    // SAFETY: NULL or live scores, as documented.
    unsafe { scores.as_ref() }.map_or(0.0, |s| s.0.total())
}

/// The perplexity of the continuation: e to the mean negative log-probability of its tokens. 0 if `scores` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_perplexity(scores: *const mlxe_scores_t) -> f64 {
    // SAFETY: NULL or live scores, as documented.
    unsafe { scores.as_ref() }.map_or(0.0, |s| s.0.perplexity())
}

/// Frees scores. NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_scores_free(scores: *mut mlxe_scores_t) {
    // SAFETY: NULL or owned scores, as documented.
    unsafe { free(scores) }
}

/// How many positions there are; 0 if `logits` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_logits_rows(logits: *const mlxe_logits_t) -> usize {
    // SAFETY: NULL or live logits, as documented.
    unsafe { logits.as_ref() }.map_or(0, |l| l.0.rows)
}

/// Values a position: the size of the vocabulary. 0 if `logits` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_logits_columns(logits: *const mlxe_logits_t) -> usize {
    // SAFETY: NULL or live logits, as documented.
    unsafe { logits.as_ref() }.map_or(0, |l| l.0.columns)
}

/// The logits, row by row. Borrowed: valid until they are freed. NULL if `logits` is NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_logits_data(logits: *const mlxe_logits_t) -> *const f32 {
    // SAFETY: NULL or live logits, as documented.
    unsafe { logits.as_ref() }.map_or(std::ptr::null(), |l| l.0.values.as_ptr())
}

/// Frees logits. NULL is fine.
///
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlxe_logits_free(logits: *mut mlxe_logits_t) {
    // SAFETY: NULL or owned logits, as documented.
    unsafe { free(logits) }
}
