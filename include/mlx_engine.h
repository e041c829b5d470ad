// MLXEngine: find, load and run language models on Apple's MLX.
//
// Conventions
//
// Errors.     Functions that can fail return an owned mlxe_error_t *, NULL for success. Outputs are written on success
//             only. Codes are open: a later version may return codes that this header does not name.
// Handles.    Opaque and reference-counted: children keep their parents alive, so handles can be freed in any order.
//             The _free functions accept NULL. Using a handle after freeing it is undefined behaviour.
// Arguments.  Pointers must not be NULL unless the function says so; NULL is an error, never a crash. Text is UTF-8.
// Structs.    Option structs begin with struct_size and are initialised by their _init function, which takes their
//             sizeof, so that programs and libraries of different versions work together. In callback structs, set
//             struct_size to sizeof.
// Options.    An option that is not set is all zero: numbers have a member `given`, set by mlxe_int(), mlxe_u64() and
//             mlxe_float(); strings and lists are NULL; flags are false. _init sets none. An option that is not set
//             takes its default, which is documented with it.
// Tasks.      A _start function starts long work and returns it as a mlxe_task_t. Callbacks are passed as one struct,
//             which always has the same shape. Once the function has accepted them, on_done is called exactly once,
//             then drop exactly once, and nothing after that. If it rejects them, only drop is called; not even that
//             if struct_size is impossible.
// Threads.    "Any thread" means any thread at any time, several at once. Callbacks run on a thread of the library;
//             blocking calls inside them fail with MLXE_ERROR_REENTRANT.
// Processes.  Signals are the host's: the library's threads block all but those that the processor raises. A process that
//             is forked after an engine was made can use neither it nor another one (MLXE_ERROR_FORKED); fork before,
//             or start a program (posix_spawn, exec). exit() waits for steps under way, not for callbacks: a thread in
//             one stays there.
// Panics.     No panic crosses the C boundary: a bug in the library becomes MLXE_ERROR_PANIC.
//
// Generated from src/ffi by `cargo xtask header`. Do not edit.


#ifndef MLX_ENGINE_H
#define MLX_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__has_attribute)
#if __has_attribute(warn_unused_result)
#define MLXE_MUST_USE __attribute__((warn_unused_result))
#endif
#endif
#ifndef MLXE_MUST_USE
#define MLXE_MUST_USE
#endif

/// Major version of the library that this header belongs to.
#define MLXE_VERSION_MAJOR 0

/// Minor version.
#define MLXE_VERSION_MINOR 1

/// Patch version.
#define MLXE_VERSION_PATCH 0

/// Version of the binary interface that this header describes. A library with a different version must not be used with
/// it.
#define MLXE_ABI_VERSION 1

/// No error: functions return NULL, whose mlxe_error_code() is this.
#define MLXE_OK 0

/// An argument is missing, malformed or out of range.
#define MLXE_ERROR_INVALID_ARGUMENT 1

/// A file (weights included), directory, model or other named object does not exist.
#define MLXE_ERROR_NOT_FOUND 2

/// The operating system refused to read, write or create something.
#define MLXE_ERROR_IO 3

/// config.json or another JSON file of a model is malformed or contradicts itself.
#define MLXE_ERROR_INVALID_CONFIG 4

/// The model_type, or a feature that a model needs, is not supported.
#define MLXE_ERROR_UNSUPPORTED_MODEL 5

/// Weight files are broken, truncated or overlapping, lack tensors, or do not fit the model.
#define MLXE_ERROR_INVALID_WEIGHTS 6

/// A tokenizer cannot be read, or text cannot be encoded or decoded.
#define MLXE_ERROR_TOKENIZER 7

/// A chat template is missing, malformed, or refused the messages it was given.
#define MLXE_ERROR_TEMPLATE 8

/// MLX reported an error.
#define MLXE_ERROR_MLX 9

/// Device or host memory ran out.
#define MLXE_ERROR_OUT_OF_MEMORY 10

/// The work was cancelled.
#define MLXE_ERROR_CANCELLED 11

/// A blocking call was made inside a callback, where it could deadlock.
#define MLXE_ERROR_REENTRANT 12

/// A panic was caught at the library's boundary. This is a bug in the library.
#define MLXE_ERROR_PANIC 13

/// The handle was in use when a panic was caught and can no longer be trusted.
#define MLXE_ERROR_POISONED 14

/// The network or a server failed.
#define MLXE_ERROR_NETWORK 15

/// The prompt does not fit the model's context.
#define MLXE_ERROR_CONTEXT_FULL 16

/// An invariant of the library did not hold. This is a bug in the library.
#define MLXE_ERROR_INTERNAL 17

/// A server requires a token, or the token's account has no access.
#define MLXE_ERROR_ACCESS_DENIED 18

/// The disk is full.
#define MLXE_ERROR_DISK_FULL 19

/// The same model is in use by other work, in this process or another.
#define MLXE_ERROR_BUSY 20

/// The process was forked from one that had made this handle, or an engine; neither can be used here.
#define MLXE_ERROR_FORKED 21

/// No messages.
#define MLXE_LOG_OFF 0

/// Failures that are reported nowhere else.
#define MLXE_LOG_ERROR 1

/// Probable problems.
#define MLXE_LOG_WARN 2

/// Coarse progress.
#define MLXE_LOG_INFO 3

/// Details.
#define MLXE_LOG_DEBUG 4

/// Not given: the GPU if there is one, otherwise the CPU.
#define MLXE_DEVICE_DEFAULT 0

/// The host CPU.
#define MLXE_DEVICE_CPU 1

/// Metal on Apple silicon, CUDA where the CUDA build of MLX is loaded.
#define MLXE_DEVICE_GPU 2

/// A task of a later version's kind.
#define MLXE_TASK_OTHER 0

/// A load: mlxe_task_model() returns its result.
#define MLXE_TASK_LOAD 1

/// A generation: mlxe_task_stats() returns its result.
#define MLXE_TASK_GENERATION 2

/// Work on models, a search or an estimate: mlxe_task_result() returns its result.
#define MLXE_TASK_HUB 3

/// A score: mlxe_task_scores() returns its result.
#define MLXE_TASK_SCORE 4

/// Logits: mlxe_task_logits() returns them.
#define MLXE_TASK_LOGITS 5

/// Continue. Returned by callbacks.
#define MLXE_CONTINUE 0

/// Cancel the task, as mlxe_task_cancel() does.
#define MLXE_CANCEL 1

/// Listing the files.
#define MLXE_STAGE_LISTING 1

/// Downloading configuration, tokenizer and templates.
#define MLXE_STAGE_CONFIG 2

/// Downloading weights.
#define MLXE_STAGE_WEIGHTS 3

/// Reading weights into memory.
#define MLXE_STAGE_READING 4

/// Comparing files with their checksums.
#define MLXE_STAGE_VERIFYING 5

/// Copying or moving models.
#define MLXE_STAGE_COPYING 6

/// Removing models.
#define MLXE_STAGE_REMOVING 7

/// As stored, except that on a CPU the scales of a quantized model are converted to 32-bit floats where accuracy needs
/// it.
#define MLXE_DTYPE_AUTO 0

/// As stored.
#define MLXE_DTYPE_STORED 1

/// 32-bit floating point.
#define MLXE_DTYPE_F32 2

/// IEEE 16-bit floating point.
#define MLXE_DTYPE_F16 3

/// bfloat16.
#define MLXE_DTYPE_BF16 4

/// Reading the configuration of a model that is on the disk.
#define MLXE_PHASE_READING_CONFIG 1

/// Finding the model on its hub and downloading its configuration.
#define MLXE_PHASE_DOWNLOADING_CONFIG 2

/// Downloading a weight file.
#define MLXE_PHASE_DOWNLOADING_WEIGHTS 3

/// Reading a weight file into memory.
#define MLXE_PHASE_LOADING_WEIGHTS 4

/// Reading the tokenizer.
#define MLXE_PHASE_LOADING_TOKENIZER 5

/// Running the model once, so that the first answer is not slower than later ones.
#define MLXE_PHASE_INITIALIZING_MODEL 6

/// The model is ready. Terminal.
#define MLXE_PHASE_READY 7

/// The load failed. Terminal.
#define MLXE_PHASE_FAILED 8

/// The load was cancelled. Terminal.
#define MLXE_PHASE_CANCELLED 9

/// The logits after a constraint, `logit_bias` and the penalties, before filters and temperature, as in mlx-lm.
#define MLXE_LOGPROBS_PROCESSED 0

/// The logits as the model gives them, before all of that.
#define MLXE_LOGPROBS_RAW 1

/// The distribution that the token was drawn from, after filters and temperature: tokens that they exclude are not
/// among the most likely, and at temperature 0 there is one, with a log-probability of 0.
#define MLXE_LOGPROBS_SAMPLED 2

/// A part of the prompt was processed.
#define MLXE_GENERATION_PREFILL 1

/// A token was generated; `text` has the complete characters that are now certain, possibly none.
#define MLXE_GENERATION_TOKEN 2

/// `text` had been held back, because it might have begun a stop string or was an incomplete character.
#define MLXE_GENERATION_TEXT 3

/// The model ended its answer.
#define MLXE_STOP_EOS 1

/// A stop string appeared.
#define MLXE_STOP_STRING 2

/// `max_tokens` was reached.
#define MLXE_STOP_LENGTH 3

/// The generation was cancelled.
#define MLXE_STOP_CANCELLED 4

/// The context is full.
#define MLXE_STOP_CONTEXT_FULL 5

/// `timeout_seconds` were over.
#define MLXE_STOP_TIMEOUT 6

/// The prefix store is off.
#define MLXE_REUSE_DISABLED 0

/// Nothing is stored yet for this model with these cache options.
#define MLXE_REUSE_NOTHING_STORED 1

/// The stored states continue differently.
#define MLXE_REUSE_DIFFERS 2

/// Everything was reused that can be: the last token of a prompt is always processed.
#define MLXE_REUSE_WHOLE_PROMPT 3

/// Only whole blocks are reused, so that results are exactly the same.
#define MLXE_REUSE_BLOCK 4

/// A stored state begins like the prompt, but cannot go back to the position where they diverge.
#define MLXE_REUSE_NOT_TRIMMABLE 5

/// A state that begins like the prompt has been freed.
#define MLXE_REUSE_EVICTED 6

/// Owns the thread where models live and compute. Free with mlxe_engine_free(); models and tasks keep it alive, so
/// handles can be freed in any order.
typedef struct mlxe_engine_t mlxe_engine_t;

/// An error: a code, and a message for people. Owned by the caller that receives it; free with mlxe_error_free().
typedef struct mlxe_error_t mlxe_error_t;

/// A generation whose events are pulled one at a time, for programs without callbacks and for event loops. Free with
/// mlxe_generation_free(), which cancels it.
typedef struct mlxe_generation_t mlxe_generation_t;

/// Events of work on models, of a search or of an estimate that are pulled. Free with mlxe_hub_events_free().
typedef struct mlxe_hub_events_t mlxe_hub_events_t;

/// A models directory, how to reach the Hub, and a catalogue of well-known models. Functions that find, load or manage
/// models take one. Free with mlxe_hub_free(); tasks do not need it.
typedef struct mlxe_hub_t mlxe_hub_t;

/// Events of a load that are pulled. Free with mlxe_load_events_free().
typedef struct mlxe_load_events_t mlxe_load_events_t;

/// Logits, one row a position. Free with mlxe_logits_free().
typedef struct mlxe_logits_t mlxe_logits_t;

/// A loaded model. Free with mlxe_model_free(); generations keep it alive, so handles can be freed in any order.
typedef struct mlxe_model_t mlxe_model_t;

/// How likely a continuation is, token by token. Free with mlxe_scores_free().
typedef struct mlxe_scores_t mlxe_scores_t;

/// A string returned by the library. Free with mlxe_string_free().
typedef struct mlxe_string_t mlxe_string_t;

/// Long-running work: a load, a generation, a score, a search, an estimate, a download or other work on models. It can be
/// cancelled, waited for and freed; its result is passed to on_done and returned by the function for its kind
/// (mlxe_task_kind()): mlxe_task_model(), mlxe_task_stats(), mlxe_task_result(), mlxe_task_scores() or
/// mlxe_task_logits(). Free with mlxe_task_free(), which neither cancels nor waits.
typedef struct mlxe_task_t mlxe_task_t;

/// A tokenizer. Immutable. Free with mlxe_tokenizer_free().
typedef struct mlxe_tokenizer_t mlxe_tokenizer_t;

/// Token ids returned by the library. Free with mlxe_tokens_free().
typedef struct mlxe_tokens_t mlxe_tokens_t;

/// Receives a message. `target` and `message` are UTF-8, NUL-terminated, and valid for the call. Called on any thread,
/// concurrently; must not call mlxe_log_set_callback().
typedef void (*mlxe_log_callback_t)(void *user_data, int32_t level, const char *target, const char *message);

/// A string that the caller owns: UTF-8, not necessarily NUL-terminated. Valid during the call it is passed to.
///
/// `data` may be NULL if `len` is 0. MLXE_STR("literal") and mlxe_str(pointer) make one.
typedef struct mlxe_str_t {
    /// First byte.
    const char *data;
    /// Bytes.
    size_t len;
} mlxe_str_t;

/// An optional integer. Set it with mlxe_int(); all zero means not set.
typedef struct mlxe_opt_int_t {
    /// Whether `value` is set.
    bool given;
    /// The number.
    int64_t value;
} mlxe_opt_int_t;

/// An optional unsigned 64-bit integer. Set it with mlxe_u64(); all zero means not set.
typedef struct mlxe_opt_u64_t {
    /// Whether `value` is set.
    bool given;
    /// The number.
    uint64_t value;
} mlxe_opt_u64_t;

/// Process-wide settings, which apply to all engines. Initialise with mlxe_process_options_init().
typedef struct mlxe_process_options_t {
    /// sizeof(mlxe_process_options_t)
    size_t struct_size;
    /// The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set
    /// take precedence. Copied, like all strings and lists, by the function that takes the options.
    struct mlxe_str_t json;
    /// Threads that the CPU kernels use; cannot be changed once a kernel has run. Between 1 and 256. Default:
    /// MLXE_THREADS from the environment, otherwise one per core.
    struct mlxe_opt_int_t cpu_threads;
    /// Bytes of freed memory that MLX may keep for reuse; 0 keeps none. Default: MLX's own limit.
    struct mlxe_opt_u64_t cache_limit;
    /// Bytes at which MLX waits for running work before it allocates more. Default: MLX's own limit.
    struct mlxe_opt_u64_t memory_limit;
} mlxe_process_options_t;

/// MLX's memory in bytes, for the whole process.
typedef struct mlxe_memory_t {
    /// sizeof(mlxe_memory_t), set by the caller.
    size_t struct_size;
    /// Held by models, caches and work in progress.
    size_t active;
    /// Freed, and kept for reuse.
    size_t cache;
    /// The maximum of `active` since the start or the last mlxe_memory_reset_peak().
    size_t peak;
    /// The limit at which MLX waits for running work before it allocates more.
    size_t limit;
} mlxe_memory_t;

/// An optional floating-point number. Set it with mlxe_float(); all zero means not set.
typedef struct mlxe_opt_float_t {
    /// Whether `value` is set.
    bool given;
    /// The number.
    double value;
} mlxe_opt_float_t;

/// How to set up an engine. Initialise with mlxe_engine_options_init().
typedef struct mlxe_engine_options_t {
    /// sizeof(mlxe_engine_options_t)
    size_t struct_size;
    /// The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set
    /// take precedence. Copied, like all strings and lists, by the function that takes the options.
    struct mlxe_str_t json;
    /// Where to compute. MLXE_DEVICE_*. Default: the GPU if there is one, otherwise the CPU.
    int32_t device;
    /// How many generations of one model are decoded together at most; 1 decodes each alone. At least 1. Default: 8.
    struct mlxe_opt_int_t max_batch;
    /// Bytes of state kept from generations for later prompts with the same beginning, least recently used first to go;
    /// 0 keeps none. Default: an eighth of the memory that is free when the engine starts.
    struct mlxe_opt_u64_t prefix_bytes;
    /// How many generations hold state at once at most; others wait. At least 1. Default: 64.
    struct mlxe_opt_int_t max_sequences;
    /// How many generations may wait to be begun; beyond that new ones are refused, with the error for busy. At least
    /// 1. Default: 1024.
    struct mlxe_opt_int_t max_queue;
    /// While a prompt is processed, answers under way get their next token after at most this many seconds, in addition
    /// to the time of one layer and of the step itself. At least 0. Default: 0.05.
    struct mlxe_opt_float_t token_gap_seconds;
} mlxe_engine_options_t;

/// Where models are kept and where they come from. Initialise with mlxe_hub_options_init().
typedef struct mlxe_hub_options_t {
    /// sizeof(mlxe_hub_options_t)
    size_t struct_size;
    /// The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set
    /// take precedence. Copied, like all strings and lists, by the function that takes the options.
    struct mlxe_str_t json;
    /// The models directory. Default: from the environment (MLXE_MODELS_DIR, HF_HUB_CACHE, HF_HOME), otherwise on
    /// Apple's systems "~/Library/Application Support/MLXEngine/models", elsewhere the cache of the Python libraries.
    struct mlxe_str_t directory;
    /// URL of the Hub or of a mirror: scheme, host, and path if there is one. Default: HF_ENDPOINT from the
    /// environment, otherwise the public Hub.
    struct mlxe_str_t endpoint;
    /// Access token, sent to the endpoint only. Default: from the environment (HF_TOKEN, or the file of `hf auth
    /// login`).
    struct mlxe_str_t token;
    /// Proxy for all requests: "http://host:port", "https://host:port" or "socks5://host:port", with "name:password@"
    /// before the host if needed. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY from the environment.
    struct mlxe_str_t proxy;
    /// Never uses the network; HF_HUB_OFFLINE=1 in the environment does the same.
    bool offline;
    /// Downloads over plain HTTP only, not from Xet storage; HF_HUB_DISABLE_XET=1 in the environment does the same.
    bool disable_xet;
    /// The most connections of one download. Between 1 and 64. Default: 8.
    struct mlxe_opt_int_t connections;
    /// How often a request may fail in a row, without any progress, before its error is final. Default: 5.
    struct mlxe_opt_int_t retries;
} mlxe_hub_options_t;

/// Progress of a download, of other work on models, or of reading weights. Valid during the call it is passed to, as is
/// everything it points to; mlxe_progress_clone() keeps it. Ignore stages you do not know.
typedef struct mlxe_progress_t {
    /// sizeof the struct in the library; later versions append fields.
    size_t struct_size;
    /// What the work is doing: MLXE_STAGE_*
    int32_t stage;
    /// Whether the task is paused.
    bool is_paused;
    /// The stage's name: "listing", "config", "weights", "reading", "verifying", "copying" or "removing".
    const char *stage_name;
    /// The current file, or the model when whole models are moved or removed. Empty if there is none.
    const char *file;
    /// Its number within the stage, from 1; 0 if there is none.
    uint32_t file_index;
    /// How many files the stage has, as far as is known.
    uint32_t total_files;
    /// Bytes of the file that are done.
    uint64_t file_bytes_done;
    /// Bytes of the file; 0 where files are not counted individually, as while weights are read.
    uint64_t file_bytes_total;
    /// Bytes that are done, over all files and stages. Never decreases within a phase of a load, and otherwise never.
    uint64_t bytes_done;
    /// Bytes of all files known so far; a download learns the size of its weights after its small files.
    uint64_t bytes_total;
    /// Recent speed in bytes per second; 0 where it is not measured.
    double bytes_per_second;
    /// Seconds remaining at that speed; negative if unknown.
    double remaining_seconds;
    /// While waiting to retry: how many attempts have failed in a row; otherwise 0.
    uint32_t retry_attempt;
    /// While waiting to retry: how many attempts may fail before the task does; otherwise 0.
    uint32_t retry_limit;
    /// While waiting to retry: length of the wait in seconds; otherwise 0.
    double retry_seconds;
    /// While waiting to retry: what went wrong; otherwise NULL.
    const char *retry_reason;
    /// What the task waits for another process to finish; NULL where it waits for none.
    const char *waiting_for;
} mlxe_progress_t;

/// Callbacks of work on models, of a search or of an estimate. All functions may be NULL. They are called on a thread
/// of the task, one at a time. Searches and estimates have no events.
typedef struct mlxe_hub_callbacks_t {
    /// sizeof(mlxe_hub_callbacks_t)
    size_t struct_size;
    /// Passed to all callbacks.
    void *user_data;
    /// The work has progressed. Return MLXE_CONTINUE or MLXE_CANCEL.
    int32_t (*on_event)(void *user_data, const struct mlxe_progress_t *event);
    /// The task is over. `json` is its result, or NULL; `error` is its error, or NULL. Both are borrowed for the call.
    void (*on_done)(void *user_data, const char *json, const struct mlxe_error_t *error);
    /// Nothing uses `user_data` any more.
    void (*drop)(void *user_data);
} mlxe_hub_callbacks_t;

/// What to load, and how. Initialise with mlxe_load_options_init(). Then set `directory` or `id`.
typedef struct mlxe_load_options_t {
    /// sizeof(mlxe_load_options_t)
    size_t struct_size;
    /// The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set
    /// take precedence. Copied, like all strings and lists, by the function that takes the options.
    struct mlxe_str_t json;
    /// A directory with config.json, weights and tokenizer. Default: none, so `id` must be given.
    struct mlxe_str_t directory;
    /// A model of the Hub, "organisation/name"; what the models directory lacks is downloaded first. Default: none, so
    /// `directory` must be given.
    struct mlxe_str_t id;
    /// With `id`: branch, tag or commit. Default: main.
    struct mlxe_str_t revision;
    /// Loads no tokenizer, for programs that work with token ids only.
    bool without_tokenizer;
    /// The type that floating-point weights are converted to. MLXE_DTYPE_*. Default: auto.
    int32_t dtype;
    /// A directory to read the tokenizer from. Default: the model's own.
    struct mlxe_str_t tokenizer_directory;
} mlxe_load_options_t;

/// What a load is doing. Valid during the call it is passed to, as is everything it points to;
/// mlxe_load_event_clone() keeps it. Ignore phases you do not know.
typedef struct mlxe_load_event_t {
    /// sizeof the struct in the library; later versions append fields.
    size_t struct_size;
    /// MLXE_PHASE_*
    int32_t phase;
    /// Whether no event follows.
    bool is_terminal;
    /// The phase's name: "readingConfig", "loadingWeights", ...
    const char *phase_name;
    /// A sentence for people. It also mentions a failure that is about to be retried.
    const char *description;
    /// Estimated progress of the whole load, 0 to 1. Never decreases, except to 0 when the load ends without a model.
    double estimated_progress;
    /// Progress of a download or of reading weights. NULL in other phases.
    const struct mlxe_progress_t *progress;
    /// Coarse progress: the latest of nine checkpoints reached, 1 to 9.
    uint32_t checkpoint;
    /// If it failed or was cancelled: MLXE_ERROR_*, otherwise MLXE_OK.
    int32_t error_code;
    /// Coarse progress: "initialization", "loading_model", "device_setup" or "optimization".
    const char *checkpoint_stage;
    /// If it failed or was cancelled: what went wrong, otherwise NULL.
    const char *error_message;
    /// The same in brief, for a screen with little room.
    const char *error_summary;
    /// If it failed or was cancelled: the name of the phase in which that happened, otherwise NULL.
    const char *failed_phase;
    /// Bytes that MLX holds in the whole process.
    uint64_t memory_bytes;
    /// Seconds since the load began.
    double elapsed_seconds;
} mlxe_load_event_t;

/// Callbacks of a load. All functions may be NULL. They are called on the engine's thread, one at a time; slow
/// callbacks delay everything on that engine.
typedef struct mlxe_load_callbacks_t {
    /// sizeof(mlxe_load_callbacks_t)
    size_t struct_size;
    /// Passed to all callbacks.
    void *user_data;
    /// Something happened. Return MLXE_CONTINUE or MLXE_CANCEL.
    int32_t (*on_event)(void *user_data, const struct mlxe_load_event_t *event);
    /// The load is over. `model` is a handle that the callback owns, or NULL; `error` is its error, borrowed for the
    /// call, or NULL.
    void (*on_done)(void *user_data, struct mlxe_model_t *model, const struct mlxe_error_t *error);
    /// Nothing uses `user_data` any more.
    void (*drop)(void *user_data);
} mlxe_load_callbacks_t;

/// How to render chat messages. Initialise with mlxe_template_options_init().
typedef struct mlxe_template_options_t {
    /// sizeof(mlxe_template_options_t)
    size_t struct_size;
    /// A JSON array of tools (JSON schemas of functions); empty for none.
    struct mlxe_str_t tools_json;
    /// A JSON array of documents; empty for none.
    struct mlxe_str_t documents_json;
    /// A JSON object of additional template variables, e.g. {"enable_thinking": false}; empty for none.
    struct mlxe_str_t variables_json;
    /// The name of the template, if there are several; empty for the default choice.
    struct mlxe_str_t name;
    /// A template to use instead of the tokenizer's own; empty for none.
    struct mlxe_str_t chat_template;
    /// Ends the text where the answer is to begin. On by default.
    bool add_generation_prompt;
    /// Leaves the last message open, to be continued.
    bool continue_final_message;
    /// mlxe_tokenizer_encode_chat() takes special tokens in messages, tools and documents for tokens, as it takes those
    /// of the template. For data that is trusted, and has them on purpose.
    bool special_tokens_in_data;
} mlxe_template_options_t;

/// A token and a number: a bias, or a log-probability.
typedef struct mlxe_token_value_t {
    /// The token's id.
    uint32_t token;
    /// The number that goes with it.
    float value;
} mlxe_token_value_t;

/// How to generate. By default the most likely token is chosen each time, until the model ends its answer or the
/// context is full. Initialise with mlxe_generate_options_init().
typedef struct mlxe_generate_options_t {
    /// sizeof(mlxe_generate_options_t)
    size_t struct_size;
    /// The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set
    /// take precedence. Copied, like all strings and lists, by the function that takes the options.
    struct mlxe_str_t json;
    /// The most tokens to generate. Default: as many as the context holds.
    struct mlxe_opt_int_t max_tokens;
    /// The most positions, prompt and answer together. At least 1. Default: the model's context length.
    struct mlxe_opt_int_t max_context;
    /// Stop strings: they end the answer, and are not part of it. Default: none.
    const struct mlxe_str_t *stop;
    /// Its length.
    size_t stop_count;
    /// Tokens that end the answer, in addition to the model's own. Default: none.
    const uint32_t *extra_eos;
    /// Its length.
    size_t extra_eos_count;
    /// Leaves special tokens out of the text, including the markers of reasoning and tool calls.
    bool skip_special_tokens;
    /// Continues past tokens that would end the answer; for benchmarks.
    bool ignore_eos;
    /// Divides the logits before sampling: higher values make the choice more random; 0 always chooses the most likely
    /// token. At least 0. Default: 0.
    struct mlxe_opt_float_t temperature;
    /// Keeps only the most likely tokens whose probabilities add up to this. Between 0 and 1. Default: 1, which is off.
    struct mlxe_opt_float_t top_p;
    /// Keeps only this many of the most likely tokens. Default: 0, which is off.
    struct mlxe_opt_int_t top_k;
    /// Keeps only tokens with at least this probability relative to the most likely one. Between 0 and 1. Default: 0,
    /// which is off.
    struct mlxe_opt_float_t min_p;
    /// `min_p` and `typical_p` keep at least this many tokens. At least 1. Default: 1.
    struct mlxe_opt_int_t min_tokens_to_keep;
    /// Keeps only the tokens whose surprise is closest to the entropy, until their probabilities add up to this. Above
    /// 0 and at most 1. Default: 1, which is off.
    struct mlxe_opt_float_t typical_p;
    /// Keeps only tokens whose logit is within this many standard deviations of the largest. At least 0. Default: 0,
    /// which is off.
    struct mlxe_opt_float_t top_n_sigma;
    /// The probability, for each token, that XTC excludes the most likely tokens. Between 0 and 1. Default: 0, which is
    /// off.
    struct mlxe_opt_float_t xtc_probability;
    /// XTC excludes all tokens more probable than this, except the least likely of them. Between 0 and 0.5. Default:
    /// 0.1.
    struct mlxe_opt_float_t xtc_threshold;
    /// Scale of DRY, a penalty on tokens that would extend a repetition; 0.8 is typical. At least 0. Default: 0, which
    /// is off.
    struct mlxe_opt_float_t dry_multiplier;
    /// DRY: factor by which the penalty grows with each repeated token. At least 1. Default: 1.75.
    struct mlxe_opt_float_t dry_base;
    /// DRY: repetitions shorter than this many tokens are not penalised. Default: 2.
    struct mlxe_opt_int_t dry_allowed_length;
    /// DRY: how many of the latest tokens are searched for repetitions; 0 for all. Default: 0.
    struct mlxe_opt_int_t dry_penalty_last_n;
    /// DRY: strings at which a repetition ends. 1 to 40 bytes each. Default: newline, `:`, `"`, `*`.
    const struct mlxe_str_t *dry_sequence_breakers;
    /// Its length.
    size_t dry_sequence_breakers_count;
    /// Target surprise, in bits per token, of Mirostat v2, which then replaces the filters above; 5 is typical. At
    /// least 0. Default: 0, which is off.
    struct mlxe_opt_float_t mirostat_tau;
    /// Mirostat: the learning rate. At least 0. Default: 0.1.
    struct mlxe_opt_float_t mirostat_eta;
    /// Divides positive logits of tokens seen before by this, and multiplies negative ones. At least 0. Default: 1,
    /// which is off.
    struct mlxe_opt_float_t repetition_penalty;
    /// How many of the latest tokens `repetition_penalty` looks at; 0 for all. Default: 20.
    struct mlxe_opt_int_t repetition_context_size;
    /// Subtracted from the logits of tokens seen before. Default: 0, which is off.
    struct mlxe_opt_float_t presence_penalty;
    /// How many of the latest tokens `presence_penalty` looks at; 0 for all. Default: 20.
    struct mlxe_opt_int_t presence_context_size;
    /// Subtracted from a token's logit for each time it was seen. Default: 0, which is off.
    struct mlxe_opt_float_t frequency_penalty;
    /// How many of the latest tokens `frequency_penalty` looks at; 0 for all. Default: 20.
    struct mlxe_opt_int_t frequency_context_size;
    /// Added to the logits of these tokens; minus infinity (in JSON, a large negative number) bans a token. Default:
    /// none.
    const struct mlxe_token_value_t *logit_bias;
    /// Its length.
    size_t logit_bias_count;
    /// Seed of the random numbers: the same seed gives the same text. Default: a different one each time.
    struct mlxe_opt_u64_t seed;
    /// Reports the log-probability of each token, and of this many of the most likely ones. Default: none are reported.
    struct mlxe_opt_int_t logprobs;
    /// What log-probabilities refer to: the logits before or after biases and penalties, or what is left after the
    /// filters and the temperature. MLXE_LOGPROBS_*. Default: processed.
    int32_t logprobs_mode;
    /// Keeps only the first four and the latest positions, this many in total. At least 5. Default: all positions are
    /// kept.
    struct mlxe_opt_int_t max_kv_size;
    /// Quantizes keys and values to this many bits. 2, 3, 4, 5, 6 or 8. Default: not quantized.
    struct mlxe_opt_int_t kv_bits;
    /// Group size of quantized keys and values; the head size must be a multiple of it. 32, 64 or 128. Default: 64.
    struct mlxe_opt_int_t kv_group_size;
    /// The position from which keys and values are quantized. At least 0. Default: 0.
    struct mlxe_opt_int_t quantized_kv_start;
    /// Prompt tokens processed per step. At least 1. Default: chosen for model and device.
    struct mlxe_opt_int_t prefill_step_size;
    /// Which of the waiting generations is begun first: the one with the highest priority, and of those the one that
    /// was started first. Default: 0.
    struct mlxe_opt_int_t priority;
    /// Seconds, counted from the start and including the time in the queue, after which the generation ends with what
    /// it has. Above 0. Default: no limit.
    struct mlxe_opt_float_t timeout_seconds;
    /// Prompt lookup: how many tokens to propose per step at most, namely those that followed where the latest ones
    /// occurred before. At most 15. Default: 0, which is off.
    struct mlxe_opt_int_t prompt_lookup_tokens;
    /// Prompt lookup: how many of the latest tokens must match. At least 1. Default: 3.
    struct mlxe_opt_int_t prompt_lookup_ngram;
} mlxe_generate_options_t;

/// What happened in a generation. The answer is the concatenated `text` of all events. Valid during the call it is
/// passed to, as is everything it points to; mlxe_generation_event_clone() keeps it. Ignore kinds you do not know.
typedef struct mlxe_generation_event_t {
    /// sizeof the struct in the library; later versions append fields.
    size_t struct_size;
    /// MLXE_GENERATION_*
    int32_t kind;
    /// With MLXE_GENERATION_TOKEN: the token's id.
    uint32_t token;
    /// UTF-8, NUL-terminated; empty with MLXE_GENERATION_PREFILL.
    const char *text;
    /// Its length in bytes, without the NUL.
    size_t text_len;
    /// With MLXE_GENERATION_TOKEN, if requested: the natural logarithm of the token's probability, of the logits
    /// that `logprobs_mode` says.
    struct mlxe_opt_float_t logprob;
    /// If requested: the most likely tokens with their log-probabilities; otherwise NULL.
    const struct mlxe_token_value_t *top;
    /// How many.
    size_t top_count;
    /// With MLXE_GENERATION_PREFILL: tokens of the prompt processed so far.
    size_t prompt_processed;
    /// With MLXE_GENERATION_PREFILL: tokens of the prompt.
    size_t prompt_total;
} mlxe_generation_event_t;

/// Statistics of a generation.
typedef struct mlxe_generation_stats_t {
    /// sizeof(mlxe_generation_stats_t), set by the caller if the caller provides the struct.
    size_t struct_size;
    /// Tokens of the prompt that were processed or reused.
    size_t prompt_tokens;
    /// Tokens of the answer.
    size_t generated_tokens;
    /// Seconds from the start until the engine began to work on it.
    double queue_seconds;
    /// Seconds of work on the prompt. While others are decoded in between, their time is not counted.
    double prompt_seconds;
    /// Seconds from the end of the prompt until the end.
    double generation_seconds;
    /// Seconds from the start, queue included, to the first token; negative if there was none.
    double time_to_first_token;
    /// Prompt tokens processed per second, not counting reused ones.
    double prompt_tokens_per_second;
    /// Answer tokens per second.
    double generation_tokens_per_second;
    /// The most bytes MLX has held so far, in the whole process.
    uint64_t peak_memory_bytes;
    /// The seed that was used.
    uint64_t seed;
    /// Why it ended: MLXE_STOP_*.
    int32_t stop_reason;
    /// Why no more of the prompt was reused: MLXE_REUSE_*.
    int32_t reuse_end;
    /// Tokens of the prompt whose state was reused from an earlier generation instead of processed.
    size_t reused_tokens;
    /// Length in tokens of the longest prefix that the prompt shares with the state of an earlier generation.
    size_t matched_tokens;
    /// Tokens that were proposed by speculation.
    size_t proposed_tokens;
    /// Those of them that were accepted.
    size_t accepted_tokens;
} mlxe_generation_stats_t;

/// Callbacks of a generation. All functions may be NULL. They are called on the engine's thread, one at a time; slow
/// callbacks delay everything on that engine.
typedef struct mlxe_generate_callbacks_t {
    /// sizeof(mlxe_generate_callbacks_t)
    size_t struct_size;
    /// Passed to all callbacks.
    void *user_data;
    /// Something happened. Return MLXE_CONTINUE or MLXE_CANCEL.
    int32_t (*on_event)(void *user_data, const struct mlxe_generation_event_t *event);
    /// The generation is over. `stats` and `error` are borrowed for the call; one of them is NULL. A cancelled
    /// generation has statistics.
    void (*on_done)(void *user_data, const struct mlxe_generation_stats_t *stats, const struct mlxe_error_t *error);
    /// Nothing uses `user_data` any more.
    void (*drop)(void *user_data);
} mlxe_generate_callbacks_t;

/// A function that chooses the tokens of a generation, for mlxe_generate_guided_start() and mlxe_generation_guided_new().
typedef struct mlxe_sampler_t {
    /// sizeof(mlxe_sampler_t)
    size_t struct_size;
    /// Passed to all functions.
    void *user_data;
    /// Writes the next token to `out_token` and returns MLXE_OK. Anything else ends the generation with
    /// MLXE_ERROR_INVALID_ARGUMENT, and so does a token that is not in the vocabulary.
    ///
    /// `logits` has one value per token of the vocabulary, after `logit_bias` and the penalties; `history` is prompt and
    /// answer so far. Both are borrowed for the call. Called on the engine's thread, once per token; the time it takes
    /// delays everything on that engine.
    int32_t (*sample)(void *user_data,
                      const float *logits,
                      size_t logits_len,
                      const uint32_t *history,
                      size_t history_len,
                      uint32_t *out_token);
    /// Nothing uses `user_data` any more. May be NULL.
    void (*drop)(void *user_data);
} mlxe_sampler_t;

/// A part of the tokens was processed. Valid during the call it is passed to.
typedef struct mlxe_score_event_t {
    /// sizeof the struct in the library; later versions append fields.
    size_t struct_size;
    /// Tokens processed so far.
    size_t processed;
    /// Tokens to process.
    size_t total;
} mlxe_score_event_t;

/// Callbacks of mlxe_score_start(). All functions may be NULL. They are called on the engine's thread, one at a time.
typedef struct mlxe_score_callbacks_t {
    /// sizeof(mlxe_score_callbacks_t)
    size_t struct_size;
    /// Passed to all callbacks.
    void *user_data;
    /// A part was processed. Return MLXE_CONTINUE or MLXE_CANCEL.
    int32_t (*on_event)(void *user_data, const struct mlxe_score_event_t *event);
    /// It is over. `scores` and `error` are borrowed for the call; one of them is NULL.
    void (*on_done)(void *user_data, const struct mlxe_scores_t *scores, const struct mlxe_error_t *error);
    /// Nothing uses `user_data` any more.
    void (*drop)(void *user_data);
} mlxe_score_callbacks_t;

/// Callbacks of mlxe_logits_start(). All functions may be NULL. They are called on the engine's thread, one at a time.
typedef struct mlxe_logits_callbacks_t {
    /// sizeof(mlxe_logits_callbacks_t)
    size_t struct_size;
    /// Passed to all callbacks.
    void *user_data;
    /// A part was processed. Return MLXE_CONTINUE or MLXE_CANCEL.
    int32_t (*on_event)(void *user_data, const struct mlxe_score_event_t *event);
    /// It is over. `logits` and `error` are borrowed for the call; one of them is NULL.
    void (*on_done)(void *user_data, const struct mlxe_logits_t *logits, const struct mlxe_error_t *error);
    /// Nothing uses `user_data` any more.
    void (*drop)(void *user_data);
} mlxe_logits_callbacks_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of the binary interface of the loaded library; compare it with MLXE_ABI_VERSION.
///
/// Any thread.
int32_t mlxe_abi_version(void);

/// The version of the loaded library, e.g. "0.1.0". Static; do not free.
///
/// Any thread.
const char *mlxe_version(void);

/// The version of MLX that the library was built for, e.g. "0.32.2". Static; do not free.
///
/// Any thread.
const char *mlxe_mlx_version(void);

/// The error's code, one of MLXE_ERROR_*; MLXE_OK if `error` is NULL. Later versions may have more codes.
///
/// Any thread.
int32_t mlxe_error_code(const struct mlxe_error_t *error);

/// The error's message: UTF-8, NUL-terminated, names the file, key or value at fault. Borrowed: valid until the error
/// is freed. The empty string if `error` is NULL.
///
/// Any thread.
const char *mlxe_error_message(const struct mlxe_error_t *error);

/// Another error with the same code and message, for keeping one that is borrowed; the caller owns it. NULL if `error` is
/// NULL.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_error_clone(const struct mlxe_error_t *error);

/// The name of a code as this header spells it, such as "MLXE_ERROR_NOT_FOUND"; "MLXE_OK" for MLXE_OK, "unknown" for a
/// code that this version does not have. Static; do not free.
///
/// Any thread, also in a signal handler.
const char *mlxe_error_name(int32_t code);

/// The error's message in brief, for a screen with little room: of several problems the first one, at most 201
/// characters. Borrowed: valid until the error is freed. The empty string if `error` is NULL.
///
/// Any thread.
const char *mlxe_error_summary(const struct mlxe_error_t *error);

/// Frees an error. NULL is fine.
void mlxe_error_free(struct mlxe_error_t *error);

/// The string, UTF-8 and NUL-terminated. Borrowed: valid until the string is freed. NULL if `string` is NULL.
///
/// Any thread.
const char *mlxe_string_data(const struct mlxe_string_t *string);

/// The length in bytes, without the terminating NUL; 0 if `string` is NULL. The string may contain NULs.
///
/// Any thread.
size_t mlxe_string_len(const struct mlxe_string_t *string);

/// Frees a string. NULL is fine.
void mlxe_string_free(struct mlxe_string_t *string);

/// The ids. Borrowed: valid until the tokens are freed. NULL if `tokens` is NULL.
///
/// Any thread.
const uint32_t *mlxe_tokens_data(const struct mlxe_tokens_t *tokens);

/// How many ids there are; 0 if `tokens` is NULL.
///
/// Any thread.
size_t mlxe_tokens_len(const struct mlxe_tokens_t *tokens);

/// Frees tokens. NULL is fine.
void mlxe_tokens_free(struct mlxe_tokens_t *tokens);

/// Sets the callback that receives the library's log messages, replacing any earlier one.
///
/// Messages above `max_level` (MLXE_LOG_*) are not produced. `callback` may be NULL for none. `drop`, which may be
/// NULL, is called with `user_data` once nothing uses it any more, even if this function fails.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT if `max_level` is unknown, or a Rust program has set its own logger.
///
/// Any thread, but not inside a callback that logs.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_log_set_callback(int32_t max_level,
                                           mlxe_log_callback_t callback,
                                           void *user_data,
                                           void (*drop)(void *user_data));

/// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
/// is NULL.
void mlxe_process_options_init(struct mlxe_process_options_t *options, size_t size);

/// Sets the given options for the whole process; the others stay as they are.
///
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, including if CPU kernels already run on a different number of threads.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_process_set(const struct mlxe_process_options_t *options);

/// Returns the current settings. `out_options` must have been initialised by mlxe_process_options_init(). All options
/// are set in it, except `cache_limit` while MLX's own limit applies. Calling this fixes the number of threads.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_process_get(struct mlxe_process_options_t *out_options);

/// Reads MLX's memory counters into `out_memory`, whose struct_size the caller has set.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_error_t *mlxe_memory_get(struct mlxe_memory_t *out_memory);

/// The devices that engines can use here, as a JSON array of {"device" ("cpu" or "gpu"), "name", "memory_total",
/// "memory_available", "kernels" ("mlx", or the level of the library's CPU kernels, such as "avx512"), "is_default"}. Memory
/// is in bytes; unknown values are null. Later versions may add keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_devices_json(struct mlxe_string_t **out_json);

/// Returns memory that MLX keeps for reuse to the system.
///
/// Any thread.
void mlxe_memory_clear_cache(void);

/// Restarts the peak from now.
///
/// Any thread.
void mlxe_memory_reset_peak(void);

/// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
/// is NULL.
void mlxe_engine_options_init(struct mlxe_engine_options_t *options, size_t size);

/// Starts an engine.
///
/// `options` may be NULL for the defaults. `out_engine` receives the engine, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, MLXE_ERROR_UNSUPPORTED_MODEL (no such device), MLXE_ERROR_IO (no thread).
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_engine_new(const struct mlxe_engine_options_t *options,
                                     struct mlxe_engine_t **out_engine);

/// The device that the engine computes on: "cpu" or "gpu". Static; do not free. NULL if `engine` is NULL.
///
/// Any thread.
const char *mlxe_engine_device(const struct mlxe_engine_t *engine);

/// Bytes of state from generations that are kept for later prompts. 0 if `engine` is NULL.
///
/// Any thread.
size_t mlxe_engine_prefix_bytes(const struct mlxe_engine_t *engine);

/// Frees the state kept from generations, before any work that is started after this call. Freeing a model also frees
/// its state. Does nothing if `engine` is NULL.
///
/// Any thread, also inside callbacks.
void mlxe_engine_clear_prefixes(const struct mlxe_engine_t *engine);

/// Releases the engine. It ends with its last model and task. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_engine_free(struct mlxe_engine_t *engine);

/// What a task is, and so which function returns its result: MLXE_TASK_*; MLXE_TASK_OTHER if `task` is NULL. Later
/// versions may have more kinds.
///
/// Any thread, also inside callbacks.
int32_t mlxe_task_kind(const struct mlxe_task_t *task);

/// Asks a task to stop. It stops within one step and then calls on_done. May be called repeatedly, and after the end.
/// Does nothing if `task` is NULL.
///
/// Any thread, also inside callbacks and signal handlers.
void mlxe_task_cancel(const struct mlxe_task_t *task);

/// Whether the task is over: no callback of it runs or will run. False if `task` is NULL.
///
/// Any thread.
bool mlxe_task_is_done(const struct mlxe_task_t *task);

/// Waits until the task is over and returns its error, or NULL for success. A cancelled task fails with
/// MLXE_ERROR_CANCELLED, but a cancelled generation succeeds, and its statistics say that it was cancelled.
///
/// Any thread but the library's own: inside a callback it fails with MLXE_ERROR_REENTRANT.
MLXE_MUST_USE struct mlxe_error_t *mlxe_task_wait(const struct mlxe_task_t *task);

/// Like mlxe_task_wait(), but for `seconds` at most. On success `out_done` receives whether
/// the task is over. An error is the task's own, which is over then, or MLXE_ERROR_REENTRANT or MLXE_ERROR_FORKED, which
/// say that it cannot be waited for here; `out_done` is then not written.
///
/// Any thread but the library's own.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_task_wait_for(const struct mlxe_task_t *task,
                                        double seconds,
                                        bool *out_done);

/// Pauses a task that downloads or works on models: a download closes its connections, other work stops where it is.
/// May be called repeatedly; does nothing to other tasks, to a load that downloads nothing, after the end, or if `task`
/// is NULL. A paused task can be cancelled.
///
/// Any thread, also inside callbacks.
void mlxe_task_pause(const struct mlxe_task_t *task);

/// Resumes a paused task.
///
/// Any thread, also inside callbacks.
void mlxe_task_resume(const struct mlxe_task_t *task);

/// Releases the handle. The work continues. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_task_free(struct mlxe_task_t *task);

/// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
/// is NULL.
void mlxe_hub_options_init(struct mlxe_hub_options_t *options, size_t size);

/// Waits for work on models, a search or an estimate, and writes its result to `out_json`: the JSON that the function
/// that started it describes. The caller owns it.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is another kind of
/// task.
MLXE_MUST_USE struct mlxe_error_t *mlxe_task_result(const struct mlxe_task_t *task, struct mlxe_string_t **out_json);

/// Opens a models directory, which need not exist.
///
/// `options` may be NULL for the defaults. `out_hub` receives the hub, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT; MLXE_ERROR_NOT_FOUND if neither options nor environment give a models
/// directory.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_hub_new(const struct mlxe_hub_options_t *options, struct mlxe_hub_t **out_hub);

/// Frees a hub. Its tasks continue. NULL is fine.
void mlxe_hub_free(struct mlxe_hub_t *hub);

/// The models directory. Borrowed: valid until the hub is freed. The empty string if `hub` is NULL.
///
/// Any thread.
const char *mlxe_hub_directory(const struct mlxe_hub_t *hub);

/// Lists the models on the disk: a JSON array of
/// {"id", "complete", "bytes", "partial_bytes", "last_used", "uses", "model_type", "directory", "revisions": [{"commit",
/// "refs", "complete", "files", "bytes", "directory"}]}. Times are seconds since 1970.
///
/// `out_json` receives the text, which the caller owns. Errors: MLXE_ERROR_IO.
///
/// Any thread. Reads the directory, which takes milliseconds.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_list(const struct mlxe_hub_t *hub,
                                   struct mlxe_string_t **out_json);

/// Describes one model on the disk: an element of mlxe_hub_list()'s array.
///
/// `out_json` receives the text, which the caller owns. Errors: MLXE_ERROR_NOT_FOUND, MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_info(const struct mlxe_hub_t *hub,
                                   struct mlxe_str_t id,
                                   struct mlxe_string_t **out_json);

/// Removes a model, or one revision of it, from the disk. Result: {"id", "bytes"}, with the bytes that were freed.
///
/// An empty `revision` (branch, tag or commit) removes all of them. `out_json` may be NULL; otherwise it receives the
/// result, which the caller owns. A model that is already loaded is not affected.
/// Errors: MLXE_ERROR_NOT_FOUND; MLXE_ERROR_BUSY while it is being downloaded or loaded, in this process or another;
/// MLXE_ERROR_IO.
///
/// Any thread. May take a second for many gigabytes.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_remove(const struct mlxe_hub_t *hub,
                                     struct mlxe_str_t id,
                                     struct mlxe_str_t revision,
                                     struct mlxe_string_t **out_json);

/// Starts downloading what a model needs and the disk lacks. If it is cancelled or killed, what has arrived is kept,
/// and the next download resumes from there. Result: {"id", "commit", "directory"}.
///
/// An empty `revision` is "main". `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives the task, which
/// the caller owns. Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_pull_start(const struct mlxe_hub_t *hub,
                                         struct mlxe_str_t id,
                                         struct mlxe_str_t revision,
                                         const struct mlxe_hub_callbacks_t *callbacks,
                                         struct mlxe_task_t **out_task);

/// Starts verifying a model, or all models if `id` is empty: missing files, sizes, checksums, and leftovers of killed
/// processes. With `fix`, damaged and useless files are removed; the next download fetches them again.
/// Result: {"models", "files", "bytes", "sound", "problems": [{"id", "file", "problem", "message", "bytes", "fixed"}]},
/// where a problem is "missing", "dangling", "size", "checksum", "outside", "unreadable", "leftover" or "unreferenced".
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_verify_start(const struct mlxe_hub_t *hub,
                                           struct mlxe_str_t id,
                                           bool fix,
                                           const struct mlxe_hub_callbacks_t *callbacks,
                                           struct mlxe_task_t **out_task);

/// Starts importing a folder with a model into the models directory as `id`. It is checked first and becomes visible
/// once it is complete. With `link`, weights are hard-linked where the file system allows: both names are then the same
/// file. Result: as mlxe_hub_info().
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_import_start(const struct mlxe_hub_t *hub,
                                           struct mlxe_str_t folder,
                                           struct mlxe_str_t id,
                                           bool link,
                                           const struct mlxe_hub_callbacks_t *callbacks,
                                           struct mlxe_task_t **out_task);

/// Starts moving all models to another directory, each atomically: by a rename, or by a copy to another file system.
/// This hub keeps the old directory; open a new hub afterwards. Result: {"directory", "moved", "stayed"}.
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_move_start(const struct mlxe_hub_t *hub,
                                         struct mlxe_str_t directory,
                                         const struct mlxe_hub_callbacks_t *callbacks,
                                         struct mlxe_task_t **out_task);

/// Starts removing models, least recently used first, until the others take `budget` bytes or less. The `keep_count`
/// ids in `keep` (NULL if there are none) are kept, as are models in use. With `dry_run` nothing is removed. Result:
/// {"removed": [{"id", "bytes"}], "busy", "bytes", "within_budget"}.
///
/// Callbacks, task and errors: as mlxe_hub_pull_start().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_prune_start(const struct mlxe_hub_t *hub,
                                          uint64_t budget,
                                          const struct mlxe_str_t *keep,
                                          size_t keep_count,
                                          bool dry_run,
                                          const struct mlxe_hub_callbacks_t *callbacks,
                                          struct mlxe_task_t **out_task);

/// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
/// is NULL.
void mlxe_load_options_init(struct mlxe_load_options_t *options, size_t size);

/// Starts loading a model and returns immediately.
///
/// `hub` says where a model with an `id` is kept and comes from, and whose catalogue applies; NULL for the hub of
/// mlxe_hub_new(NULL). It may be freed right after the call. `options` and the strings in it are copied. `callbacks`
/// may be NULL. `out_task` may be NULL; otherwise it receives the task, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load_start(const struct mlxe_engine_t *engine,
                                     const struct mlxe_hub_t *hub,
                                     const struct mlxe_load_options_t *options,
                                     const struct mlxe_load_callbacks_t *callbacks,
                                     struct mlxe_task_t **out_task);

/// Loads a model and waits for it: mlxe_load_start(), then mlxe_task_model().
///
/// `callbacks` may be NULL. `out_model` receives the model, which the caller owns.
/// Errors: those of loading; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load(const struct mlxe_engine_t *engine,
                               const struct mlxe_hub_t *hub,
                               const struct mlxe_load_options_t *options,
                               const struct mlxe_load_callbacks_t *callbacks,
                               struct mlxe_model_t **out_model);

/// Waits for a load and returns its model, which the caller owns. Each call returns another handle to the same model.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a load.
MLXE_MUST_USE struct mlxe_error_t *mlxe_task_model(const struct mlxe_task_t *task, struct mlxe_model_t **out_model);

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
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_search_start(const struct mlxe_hub_t *hub,
                                           struct mlxe_str_t query,
                                           const struct mlxe_hub_callbacks_t *callbacks,
                                           struct mlxe_task_t **out_task);

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
MLXE_MUST_USE
struct mlxe_error_t *mlxe_estimate_start(const struct mlxe_hub_t *hub,
                                         const struct mlxe_load_options_t *options,
                                         struct mlxe_str_t request,
                                         const struct mlxe_hub_callbacks_t *callbacks,
                                         struct mlxe_task_t **out_task);

/// The hub's catalogue of well-known models, smallest first: a JSON array of objects with id, name, short_name,
/// parameters, bits, architecture, context, default_prompt, extra_eos; and supported (whether this library has the
/// architecture), weight_bytes and fits (whether it fits in the memory that is available now, or null). `out_json`
/// receives the text, which the caller owns.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_hub_catalog(const struct mlxe_hub_t *hub, struct mlxe_string_t **out_json);

/// Adds entries to the hub's catalogue, or replaces those with the same id. Other hubs are not affected. `json` is an
/// object with the keys id to extra_eos of mlxe_hub_catalog(), or an array of them; default_prompt and extra_eos may be
/// left out.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT; entries before the refused one have been added.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_hub_catalog_add(const struct mlxe_hub_t *hub, struct mlxe_str_t json);

/// Another handle to the same model. `out_model` receives it; the caller owns it.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_model_clone(const struct mlxe_model_t *model, struct mlxe_model_t **out_model);

/// Releases a handle. The weights are freed after the last handle and generation: this may return before that, and
/// mlxe_model_unload_start() says when it is done. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_model_free(struct mlxe_model_t *model);

/// Unloads a model although handles are left: generations of it end as cancelled, and functions that compute with it
/// fail with MLXE_ERROR_INVALID_ARGUMENT. When the task is over its memory is free, so that another model can be loaded
/// without room for both. mlxe_model_free() alone returns before that.
///
/// `callbacks` may be NULL. They are called on the engine's thread; there are no events, and the JSON that on_done gets
/// is an object with `freed_bytes`. `out_task` may be NULL; otherwise it receives the task, which the caller owns; its
/// result is that of mlxe_task_wait(). The handle stays to be freed.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_model_unload_start(const struct mlxe_model_t *model,
                                             const struct mlxe_hub_callbacks_t *callbacks,
                                             struct mlxe_task_t **out_task);

/// Facts about a model as a JSON object: name, directory, model_type, alias_of, kind, parameters, quantization (mode,
/// bits, group_size, or null), context_length, vocab_size, layers, hidden_size, weight_bytes, weight_files,
/// has_chat_template, chat_template_error, eos_token_ids, device,
/// load_seconds. Later versions may add keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_model_info_json(const struct mlxe_model_t *model,
                                          struct mlxe_string_t **out_json);

/// The model's config.json, as read.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_model_config_json(const struct mlxe_model_t *model,
                                            struct mlxe_string_t **out_json);

/// The model's tokenizer. `out_tokenizer` receives it; the caller owns it, and it may outlive the model.
///
/// Any thread. Errors: MLXE_ERROR_NOT_FOUND if the model was loaded without one.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_model_tokenizer(const struct mlxe_model_t *model,
                                          struct mlxe_tokenizer_t **out_tokenizer);

/// The supported values of model_type as a JSON array of objects: model_type, kind, alias_of. Later versions may add
/// keys.
///
/// `out_json` receives the text, which the caller owns.
///
/// Any thread.
MLXE_MUST_USE struct mlxe_error_t *mlxe_supported_models_json(struct mlxe_string_t **out_json);

/// Reads the tokenizer of a model's directory without loading the model.
///
/// `out_tokenizer` receives it; the caller owns it.
/// Errors: MLXE_ERROR_NOT_FOUND, MLXE_ERROR_IO, MLXE_ERROR_TOKENIZER, MLXE_ERROR_TEMPLATE.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_open(struct mlxe_str_t directory,
                                         struct mlxe_tokenizer_t **out_tokenizer);

/// Frees a tokenizer. NULL is fine.
///
/// Any thread.
void mlxe_tokenizer_free(struct mlxe_tokenizer_t *tokenizer);

/// The number of tokens; 0 if `tokenizer` is NULL.
///
/// Any thread.
size_t mlxe_tokenizer_vocab_size(const struct mlxe_tokenizer_t *tokenizer);

/// Whether there is a chat template; false if `tokenizer` is NULL.
///
/// Any thread.
bool mlxe_tokenizer_has_chat_template(const struct mlxe_tokenizer_t *tokenizer);

/// The tokens that end an answer. `out_tokens` receives them; the caller owns them.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_eos_tokens(const struct mlxe_tokenizer_t *tokenizer,
                                               struct mlxe_tokens_t **out_tokens);

/// Turns text into token ids.
///
/// `add_special_tokens` adds the tokens that the tokenizer puts around a text, such as beginning-of-sequence; pass
/// false for text from a chat template. `out_tokens` receives the ids; the caller owns them.
/// Errors: MLXE_ERROR_TOKENIZER.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_encode(const struct mlxe_tokenizer_t *tokenizer,
                                           struct mlxe_str_t text,
                                           bool add_special_tokens,
                                           struct mlxe_tokens_t **out_tokens);

/// Turns text into token ids; special tokens in it are text: "<|im_end|>" becomes the tokens that spell it, not the one
/// that ends a message. For text from users that is put into a prompt. Added tokens that are not special ("<think>" in
/// many models) remain tokens.
///
/// Arguments and errors as for mlxe_tokenizer_encode(). The first text with special tokens makes a copy of the tokenizer,
/// which takes as much memory again and lives as long as it.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_encode_plain(const struct mlxe_tokenizer_t *tokenizer,
                                                 struct mlxe_str_t text,
                                                 bool add_special_tokens,
                                                 struct mlxe_tokens_t **out_tokens);

/// The id of a token by its spelling in the vocabulary, such as "<|im_end|>". `out_id` receives it.
/// Errors: MLXE_ERROR_NOT_FOUND if there is no such token.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_token_id(const struct mlxe_tokenizer_t *tokenizer,
                                             struct mlxe_str_t token,
                                             uint32_t *out_id);

/// The id of the token with a role: "bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token",
/// "mask_token", or one that the model names itself, such as "image_token". `out_id` receives it.
/// Errors: MLXE_ERROR_NOT_FOUND if no token has the role.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_role_id(const struct mlxe_tokenizer_t *tokenizer,
                                            struct mlxe_str_t role,
                                            uint32_t *out_id);

/// All special tokens, in ascending order: those that mlxe_tokenizer_decode() can leave out. `out_tokens` receives them;
/// the caller owns them.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_special_tokens(const struct mlxe_tokenizer_t *tokenizer,
                                                   struct mlxe_tokens_t **out_tokens);

/// The bytes that a token adds to a text, not at its beginning. They need not be UTF-8: a token may be a part of a
/// character. Those of a special token are its name. `out_bytes` receives them; the caller owns them.
/// Errors: MLXE_ERROR_NOT_FOUND if there is no such token.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_token_bytes(const struct mlxe_tokenizer_t *tokenizer,
                                                uint32_t id,
                                                struct mlxe_string_t **out_bytes);

/// Turns token ids into text.
///
/// `skip_special_tokens` leaves out tokens such as end-of-sequence. Ids that are not in the vocabulary are left out
/// too, because output layers may be larger than the vocabulary. `out_text` receives the text; the caller owns it.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_decode(const struct mlxe_tokenizer_t *tokenizer,
                                           const uint32_t *tokens,
                                           size_t count,
                                           bool skip_special_tokens,
                                           struct mlxe_string_t **out_text);

/// Sets all options to their defaults. `size` is the sizeof of the struct; no more than that is written. Does nothing
/// if `options` is NULL.
void mlxe_template_options_init(struct mlxe_template_options_t *options, size_t size);

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
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_apply_chat_template(const struct mlxe_tokenizer_t *tokenizer,
                                                        struct mlxe_str_t messages_json,
                                                        const struct mlxe_template_options_t *options,
                                                        struct mlxe_string_t **out_text);

/// Renders chat messages and encodes them: a prompt. Special tokens in messages, tools and documents are text, so that
/// "<|im_end|>" in a message cannot end it; `special_tokens_in_data` turns that off.
///
/// Arguments and errors as for mlxe_tokenizer_apply_chat_template() and mlxe_tokenizer_encode_plain(). `out_tokens`
/// receives the ids; the caller owns them.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_tokenizer_encode_chat(const struct mlxe_tokenizer_t *tokenizer,
                                                struct mlxe_str_t messages_json,
                                                const struct mlxe_template_options_t *options,
                                                struct mlxe_tokens_t **out_tokens);

/// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
/// is NULL.
void mlxe_generate_options_init(struct mlxe_generate_options_t *options, size_t size);

/// Starts generating after a prompt and returns immediately.
///
/// `prompt` points to `prompt_len` token ids. They are copied, as are `options` (NULL for the defaults) and what they
/// point to. `callbacks` may be NULL. `out_task` may be NULL; otherwise it receives the task, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, MLXE_ERROR_CONTEXT_FULL, MLXE_ERROR_POISONED, MLXE_ERROR_BUSY if as many
/// generations wait as the engine's `max_queue` allows. Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generate_start(const struct mlxe_model_t *model,
                                         const uint32_t *prompt,
                                         size_t prompt_len,
                                         const struct mlxe_generate_options_t *options,
                                         const struct mlxe_generate_callbacks_t *callbacks,
                                         struct mlxe_task_t **out_task);

/// Like mlxe_generate_start(), but `sampler` chooses the tokens, in place of the options' filters, temperature and draw. This
/// sequence is slower then, not others that run beside it; speculation stays exact. With `logprobs`, log-probabilities are
/// those before it chooses.
///
/// `sampler` is copied; its `drop` is called exactly once, also where the call fails.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generate_guided_start(const struct mlxe_model_t *model,
                                                const uint32_t *prompt,
                                                size_t prompt_len,
                                                const struct mlxe_generate_options_t *options,
                                                const struct mlxe_sampler_t *sampler,
                                                const struct mlxe_generate_callbacks_t *callbacks,
                                                struct mlxe_task_t **out_task);

/// What a generation with these options would do: a JSON object with the value of every option, set or default; null
/// where it depends on the generation (the seed, the number of tokens, the prefill step).
///
/// `options` may be NULL for the defaults. `out_json` receives the text, which the caller owns.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT.
///
/// Any thread.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generate_options_json(const struct mlxe_model_t *model,
                                                const struct mlxe_generate_options_t *options,
                                                struct mlxe_string_t **out_json);

/// Waits for a generation and copies its statistics to `out_stats`, whose struct_size must be set.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a
/// generation.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_task_stats(const struct mlxe_task_t *task,
                                     struct mlxe_generation_stats_t *out_stats);

/// Starts generating after a prompt; mlxe_generation_next() returns its events. The generation does not wait for events
/// to be taken.
///
/// Arguments as for mlxe_generate_start(). `out_generation` receives the generation, which the caller owns.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_new(const struct mlxe_model_t *model,
                                         const uint32_t *prompt,
                                         size_t prompt_len,
                                         const struct mlxe_generate_options_t *options,
                                         struct mlxe_generation_t **out_generation);

/// Like mlxe_generation_new(), but `sampler` chooses the tokens, as for mlxe_generate_guided_start().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_guided_new(const struct mlxe_model_t *model,
                                                const uint32_t *prompt,
                                                size_t prompt_len,
                                                const struct mlxe_generate_options_t *options,
                                                const struct mlxe_sampler_t *sampler,
                                                struct mlxe_generation_t **out_generation);

/// Waits for the next event.
///
/// `out_event` receives it, borrowed until the next one is taken or the generation is freed; NULL when there are no
/// more.
/// Errors: the generation's error, once all its events have been taken; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_next(const struct mlxe_generation_t *generation,
                                          const struct mlxe_generation_event_t **out_event);

/// Like mlxe_generation_next(), but waits for `seconds` at most. Where nothing has come by then `out_event` receives
/// NULL. `out_done` receives whether there are no more events: only then NULL is the end.
///
/// Errors: as mlxe_generation_next(); MLXE_ERROR_INVALID_ARGUMENT if `seconds` is negative or not a number.
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_next_for(const struct mlxe_generation_t *generation,
                                              double seconds,
                                              const struct mlxe_generation_event_t **out_event,
                                              bool *out_done);

/// Like mlxe_generation_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_try_next(const struct mlxe_generation_t *generation,
                                              const struct mlxe_generation_event_t **out_event,
                                              bool *out_done);

/// A file descriptor for poll(), epoll, kqueue and event loops: readable while mlxe_generation_try_next() has an event,
/// or has to say that there are no more. After the end it stays readable. It is the library's: wait for it, but do not
/// read, write or close it. Valid until the generation is freed; every call gives the same one.
///
/// Errors: MLXE_ERROR_IO if the system has no descriptor left.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_error_t *mlxe_generation_fd(const struct mlxe_generation_t *generation, int32_t *out_fd);

/// Asks the generation to stop, which it does within one token. Does nothing if `generation` is NULL.
///
/// Any thread, also inside callbacks and signal handlers.
void mlxe_generation_cancel(const struct mlxe_generation_t *generation);

/// Waits for the end of the generation and copies its statistics to `out_stats`, whose struct_size must be set. Events
/// that have not been taken remain available.
///
/// Any thread but the library's own. Errors: the generation's error.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_generation_stats(const struct mlxe_generation_t *generation,
                                           struct mlxe_generation_stats_t *out_stats);

/// Cancels the generation if it is still running, and releases it. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_generation_free(struct mlxe_generation_t *generation);

/// Starts computing how likely `continuation` is after `prompt`, and returns immediately: the log-probability of each of
/// its tokens, of the logits as the model gives them, at temperature 1. Memory stays bounded, whatever the length.
///
/// Token ids are copied. For the perplexity of a whole text the prompt is its first token. `callbacks` may be NULL.
/// `out_task` may be NULL; otherwise it receives the task, which the caller owns; mlxe_task_scores() returns its result.
/// Errors: MLXE_ERROR_INVALID_ARGUMENT, also if one of them is empty; MLXE_ERROR_CONTEXT_FULL, MLXE_ERROR_POISONED.
/// Everything else is reported by the task.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_score_start(const struct mlxe_model_t *model,
                                      const uint32_t *prompt,
                                      size_t prompt_len,
                                      const uint32_t *continuation,
                                      size_t continuation_len,
                                      const struct mlxe_score_callbacks_t *callbacks,
                                      struct mlxe_task_t **out_task);

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
MLXE_MUST_USE
struct mlxe_error_t *mlxe_logits_start(const struct mlxe_model_t *model,
                                       const uint32_t *tokens,
                                       size_t tokens_len,
                                       const size_t *positions,
                                       size_t positions_len,
                                       const struct mlxe_logits_callbacks_t *callbacks,
                                       struct mlxe_task_t **out_task);

/// Waits for a score and returns its result, which the caller owns.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if it is not a score.
MLXE_MUST_USE struct mlxe_error_t *mlxe_task_scores(const struct mlxe_task_t *task, struct mlxe_scores_t **out_scores);

/// Waits for logits and returns them; the caller owns them.
///
/// Any thread but the library's own. Errors: as mlxe_task_wait(); MLXE_ERROR_INVALID_ARGUMENT if the task is another.
MLXE_MUST_USE struct mlxe_error_t *mlxe_task_logits(const struct mlxe_task_t *task, struct mlxe_logits_t **out_logits);

/// Tokens of the continuation; 0 if `scores` is NULL.
///
/// Any thread.
size_t mlxe_scores_len(const struct mlxe_scores_t *scores);

/// The natural log-probability of each token of the continuation, given everything before it. Borrowed: valid until the
/// scores are freed. NULL if `scores` is NULL.
///
/// Any thread.
const float *mlxe_scores_logprobs(const struct mlxe_scores_t *scores);

/// The token that the model finds most likely in the place of each of the continuation: where all are equal, it is what a
/// generation at temperature 0 gives. Borrowed as mlxe_scores_logprobs().
///
/// Any thread.
const uint32_t *mlxe_scores_most_likely(const struct mlxe_scores_t *scores);

/// The log-probability of the whole continuation: the sum of mlxe_scores_logprobs(). 0 if `scores` is NULL.
///
/// Any thread.
double mlxe_scores_total(const struct mlxe_scores_t *scores);

/// The perplexity of the continuation: e to the mean negative log-probability of its tokens. 0 if `scores` is NULL.
///
/// Any thread.
double mlxe_scores_perplexity(const struct mlxe_scores_t *scores);

/// Frees scores. NULL is fine.
///
/// Any thread.
void mlxe_scores_free(struct mlxe_scores_t *scores);

/// How many positions there are; 0 if `logits` is NULL.
///
/// Any thread.
size_t mlxe_logits_rows(const struct mlxe_logits_t *logits);

/// Values a position: the size of the vocabulary. 0 if `logits` is NULL.
///
/// Any thread.
size_t mlxe_logits_columns(const struct mlxe_logits_t *logits);

/// The logits, row by row. Borrowed: valid until they are freed. NULL if `logits` is NULL.
///
/// Any thread.
const float *mlxe_logits_data(const struct mlxe_logits_t *logits);

/// Frees logits. NULL is fine.
///
/// Any thread.
void mlxe_logits_free(struct mlxe_logits_t *logits);

/// Makes callbacks that keep the events of a load until they are taken, for programs without callbacks and for event
/// loops.
///
/// `out_callbacks`, whose struct_size must be set, receives the callbacks: pass them to one mlxe_load_start() or
/// mlxe_load(), unchanged; a model that is loaded is then returned by mlxe_task_model(). `out_events` receives the
/// events, which the caller owns.
///
/// The load does not wait for events to be taken. Where hundreds wait, those that only tell how far a phase is are
/// merged.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load_events_new(struct mlxe_load_callbacks_t *out_callbacks,
                                          struct mlxe_load_events_t **out_events);

/// Waits for the next event of the load.
///
/// `out_event` receives it, borrowed until the next one is taken or the events are freed; NULL when there are no more.
/// Errors: the load's error, once all its events have been taken; MLXE_ERROR_REENTRANT inside a callback.
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load_events_next(const struct mlxe_load_events_t *events,
                                           const struct mlxe_load_event_t **out_event);

/// Like mlxe_load_events_next(), but waits for `seconds` at most. Where nothing has come by then `out_event` receives
/// NULL. `out_done` receives whether there are no more events: only then NULL is the end.
///
/// Errors: as mlxe_load_events_next(); MLXE_ERROR_INVALID_ARGUMENT if `seconds` is negative or not a number.
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load_events_next_for(const struct mlxe_load_events_t *events,
                                               double seconds,
                                               const struct mlxe_load_event_t **out_event,
                                               bool *out_done);

/// Like mlxe_load_events_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_load_events_try_next(const struct mlxe_load_events_t *events,
                                               const struct mlxe_load_event_t **out_event,
                                               bool *out_done);

/// A file descriptor that is readable while mlxe_load_events_try_next() has an event, or has to say that there are no
/// more; see mlxe_generation_fd(). Valid until the events are freed.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_error_t *mlxe_load_events_fd(const struct mlxe_load_events_t *events, int32_t *out_fd);

/// Frees the events. The load continues, and is not observed any more. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_load_events_free(struct mlxe_load_events_t *events);

/// Makes callbacks that keep the events of a task of a hub until they are taken: as mlxe_load_events_new(). Pass them to
/// one of the _start functions that take mlxe_hub_callbacks_t; its result is returned by mlxe_task_result().
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_events_new(struct mlxe_hub_callbacks_t *out_callbacks,
                                         struct mlxe_hub_events_t **out_events);

/// Waits for the next event of the task: as mlxe_load_events_next().
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_events_next(const struct mlxe_hub_events_t *events,
                                          const struct mlxe_progress_t **out_event);

/// Like mlxe_hub_events_next(), but waits for `seconds` at most: as mlxe_load_events_next_for().
///
/// Any thread but the library's own; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_events_next_for(const struct mlxe_hub_events_t *events,
                                              double seconds,
                                              const struct mlxe_progress_t **out_event,
                                              bool *out_done);

/// Like mlxe_hub_events_next_for(), but never waits.
///
/// Any thread, also inside callbacks; one at a time.
MLXE_MUST_USE
struct mlxe_error_t *mlxe_hub_events_try_next(const struct mlxe_hub_events_t *events,
                                              const struct mlxe_progress_t **out_event,
                                              bool *out_done);

/// A file descriptor that is readable while mlxe_hub_events_try_next() has an event, or has to say that there are no
/// more; see mlxe_generation_fd(). Valid until the events are freed.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_error_t *mlxe_hub_events_fd(const struct mlxe_hub_events_t *events, int32_t *out_fd);

/// Frees the events. The task continues, and is not observed any more. NULL is fine.
///
/// Any thread, also inside callbacks.
void mlxe_hub_events_free(struct mlxe_hub_events_t *events);

/// A copy of an event and of all that it points to, which stays valid after the callback. Free it with
/// mlxe_load_event_free(). NULL if `event` is NULL.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_load_event_t *mlxe_load_event_clone(const struct mlxe_load_event_t *event);

/// Frees a copy made by mlxe_load_event_clone(). NULL is fine.
///
/// Any thread.
void mlxe_load_event_free(struct mlxe_load_event_t *event);

/// A copy of an event of work on models and of all that it points to, which stays valid after the callback. Free it with
/// mlxe_progress_free(). NULL if `progress` is NULL.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE
struct mlxe_progress_t *mlxe_progress_clone(const struct mlxe_progress_t *progress);

/// Frees a copy made by mlxe_progress_clone(). NULL is fine.
///
/// Any thread.
void mlxe_progress_free(struct mlxe_progress_t *progress);

/// A copy of an event of a generation and of all that it points to, which stays valid after the callback or the next
/// event. Free it with mlxe_generation_event_free(). NULL if `event` is NULL.
///
/// Any thread, also inside callbacks.
MLXE_MUST_USE struct mlxe_generation_event_t *mlxe_generation_event_clone(const struct mlxe_generation_event_t *event);

/// Frees a copy made by mlxe_generation_event_clone(). NULL is fine.
///
/// Any thread.
void mlxe_generation_event_free(struct mlxe_generation_event_t *event);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MLX_ENGINE_H */

#ifndef MLX_ENGINE_H_INLINE
#define MLX_ENGINE_H_INLINE

#ifdef __cplusplus
extern "C" {
#endif

/// A view of a NUL-terminated string; empty if `text` is NULL.
static inline mlxe_str_t mlxe_str(const char *text) {
    mlxe_str_t str;
    str.data = text;
    str.len = 0;
    if (text != NULL) {
        while (text[str.len] != 0) {
            str.len++;
        }
    }
    return str;
}

/// An integer option with this value.
static inline mlxe_opt_int_t mlxe_int(int64_t value) {
    mlxe_opt_int_t number = {true, value};
    return number;
}

/// A 64-bit unsigned option with this value.
static inline mlxe_opt_u64_t mlxe_u64(uint64_t value) {
    mlxe_opt_u64_t number = {true, value};
    return number;
}

/// A floating-point option with this value.
static inline mlxe_opt_float_t mlxe_float(double value) {
    mlxe_opt_float_t number = {true, value};
    return number;
}

#ifdef __cplusplus
}  // extern "C"
#endif

/// A view of a string literal, including any NULs in it.
#ifdef __cplusplus
#define MLXE_STR(literal) (mlxe_str_t{"" literal, sizeof(literal) - 1})
#else
#define MLXE_STR(literal) ((mlxe_str_t){"" literal, sizeof(literal) - 1})
#endif

#endif  /* MLX_ENGINE_H_INLINE */
