// Arguments that are missing or wrong: an error each time, never a crash.
#include <math.h>

#include "watch.h"

static mlxe_engine_t *engine;
static mlxe_model_t *model;
static const char *directory;

static void null_pointers(void) {
    mlxe_load_options_t load = load_options(directory);
    mlxe_task_t *task = (mlxe_task_t *)&task;
    mlxe_task_t *const untouched = task;
    mlxe_model_t *other = NULL;
    bool done = false;
    mlxe_generation_stats_t stats = stats_room();
    const mlxe_generation_event_t *event = NULL;
    mlxe_string_t *string = NULL;
    mlxe_tokens_t *tokens = NULL;
    mlxe_tokenizer_t *tokenizer = NULL;
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;

    CHECK(mlxe_error_code(NULL) == MLXE_OK && strcmp(mlxe_error_message(NULL), "") == 0);
    CHECK(strcmp(mlxe_error_summary(NULL), "") == 0);
    CHECK(mlxe_string_data(NULL) == NULL && mlxe_string_len(NULL) == 0);
    CHECK(mlxe_tokens_data(NULL) == NULL && mlxe_tokens_len(NULL) == 0);
    CHECK(mlxe_engine_device(NULL) == NULL && !mlxe_task_is_done(NULL));
    CHECK(mlxe_tokenizer_vocab_size(NULL) == 0 && !mlxe_tokenizer_has_chat_template(NULL));
    mlxe_error_free(NULL);
    mlxe_string_free(NULL);
    mlxe_tokens_free(NULL);
    mlxe_engine_free(NULL);
    mlxe_model_free(NULL);
    mlxe_task_free(NULL);
    mlxe_task_cancel(NULL);
    mlxe_generation_cancel(NULL);
    mlxe_generation_free(NULL);
    mlxe_tokenizer_free(NULL);
    mlxe_engine_options_init(NULL, sizeof(mlxe_engine_options_t));
    mlxe_load_options_init(NULL, sizeof(mlxe_load_options_t));
    mlxe_generate_options_init(NULL, sizeof(mlxe_generate_options_t));
    mlxe_template_options_init(NULL, sizeof(mlxe_template_options_t));

    FAILS(bad, mlxe_engine_new(NULL, NULL));
    FAILS(bad, mlxe_memory_get(NULL));
    FAILS(bad, mlxe_load_start(NULL, NULL, &load, NULL, &task));
    FAILS(bad, mlxe_load_start(engine, NULL, NULL, NULL, &task));
    FAILS(bad, mlxe_load(NULL, NULL, &load, NULL, &other));
    FAILS(bad, mlxe_load(engine, NULL, NULL, NULL, &other));
    FAILS(bad, mlxe_load(engine, NULL, &load, NULL, NULL));
    FAILS(bad, mlxe_task_wait(NULL));
    FAILS(bad, mlxe_task_wait_for(NULL, 1, &done));
    FAILS(bad, mlxe_task_model(NULL, &other));
    FAILS(bad, mlxe_task_stats(NULL, &stats));
    uint32_t id = 7;
    const mlxe_str_t text = MLXE_STR("text");
    FAILS(bad, mlxe_tokenizer_encode_plain(NULL, text, false, &tokens));
    FAILS(bad, mlxe_tokenizer_encode_chat(NULL, text, NULL, &tokens));
    FAILS(bad, mlxe_tokenizer_token_id(NULL, text, &id));
    FAILS(bad, mlxe_tokenizer_role_id(NULL, text, &id));
    FAILS(bad, mlxe_tokenizer_special_tokens(NULL, &tokens));
    FAILS(bad, mlxe_tokenizer_token_bytes(NULL, 0, &string));
    FAILS(bad, mlxe_generate_options_json(NULL, NULL, &string));
    FAILS(bad, mlxe_generate_options_json(model, NULL, NULL));
    CHECK(id == 7 && mlxe_task_kind(NULL) == MLXE_TASK_OTHER);
    FAILS(bad, mlxe_model_clone(NULL, &other));
    FAILS(bad, mlxe_model_clone(model, NULL));
    FAILS(bad, mlxe_model_info_json(NULL, &string));
    FAILS(bad, mlxe_model_info_json(model, NULL));
    FAILS(bad, mlxe_model_config_json(NULL, &string));
    FAILS(bad, mlxe_model_config_json(model, NULL));
    FAILS(bad, mlxe_model_tokenizer(NULL, &tokenizer));
    FAILS(bad, mlxe_model_tokenizer(model, NULL));
    FAILS(MLXE_ERROR_NOT_FOUND, mlxe_model_tokenizer(model, &tokenizer));
    FAILS(bad, mlxe_supported_models_json(NULL));
    FAILS(bad, mlxe_tokenizer_open(mlxe_str(directory), NULL));
    FAILS(bad, mlxe_tokenizer_open((mlxe_str_t){NULL, 5}, &tokenizer));
    FAILS(bad, mlxe_tokenizer_eos_tokens(NULL, &tokens));
    FAILS(bad, mlxe_tokenizer_encode(NULL, mlxe_str("x"), false, &tokens));
    FAILS(bad, mlxe_tokenizer_decode(NULL, PROMPT, PROMPT_LEN, false, &string));
    FAILS(bad, mlxe_tokenizer_apply_chat_template(NULL, mlxe_str("[]"), NULL, &string));
    FAILS(bad, mlxe_generate_start(NULL, PROMPT, PROMPT_LEN, NULL, NULL, &task));
    FAILS(bad, mlxe_generate_start(model, NULL, PROMPT_LEN, NULL, NULL, &task));
    FAILS(bad, mlxe_generate_start(model, NULL, 0, NULL, NULL, &task));
    FAILS(bad, mlxe_generate_start(model, PROMPT, SIZE_MAX, NULL, NULL, &task));
    FAILS(bad, mlxe_generation_new(NULL, PROMPT, PROMPT_LEN, NULL, (mlxe_generation_t **)&task));
    FAILS(bad, mlxe_generation_new(model, NULL, PROMPT_LEN, NULL, (mlxe_generation_t **)&task));
    FAILS(bad, mlxe_generation_new(model, PROMPT, PROMPT_LEN, NULL, NULL));
    FAILS(bad, mlxe_generation_next(NULL, &event));
    FAILS(bad, mlxe_generation_stats(NULL, &stats));
    // Outputs are written on success only.
    CHECK(task == untouched && other == NULL && string == NULL && tokens == NULL && tokenizer == NULL);

    mlxe_generate_options_t options = generate_options(1);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &generation));
    FAILS(bad, mlxe_generation_next(generation, NULL));
    FAILS(bad, mlxe_generation_stats(generation, NULL));
    mlxe_generation_free(generation);
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options, NULL, &task));
    FAILS(bad, mlxe_task_wait_for(task, 1, NULL));
    FAILS(bad, mlxe_task_stats(task, NULL));
    FAILS(bad, mlxe_task_model(task, &other));
    FAILS(bad, mlxe_task_model(task, NULL));
    const double times[] = {-1, NAN, INFINITY, 1e300};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        FAILS(bad, mlxe_task_wait_for(task, times[i], &done));
    }
    do {
        OK(mlxe_task_wait_for(task, 0.001, &done));
    } while (!done);
    // Longer than any clock counts.
    OK(mlxe_task_wait_for(task, 1e19, &done));
    CHECK(done && mlxe_task_is_done(task));
    mlxe_task_free(task);
    OK(mlxe_load_start(engine, NULL, &load, NULL, &task));
    FAILS(bad, mlxe_task_stats(task, &stats));
    OK(mlxe_task_wait(task));
    mlxe_task_free(task);
}

/// A struct of this library with room after it, as a newer header would have.
#define NEWER(type) \
    struct {        \
        type now;   \
        uint64_t later[2]; \
    }

// Callers with an older or a newer header: nothing is written past their struct, and it is accepted as it is.
static void init_sizes(void) {
    enum { FIRST = sizeof(mlxe_engine_options_t) };
    mlxe_engine_t *e = NULL;
    NEWER(mlxe_engine_options_t) o;
    unsigned char *bytes = (unsigned char *)&o;
    const size_t sizes[] = {0, 1, sizeof(size_t), FIRST - 1, FIRST, sizeof o, SIZE_MAX, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const size_t size = sizes[i];
        const bool fits = size >= FIRST && size <= sizeof o;
        // Of a struct that cannot be right at most its size is written.
        const size_t written = fits ? size : size < sizeof(size_t) ? 0 : sizeof(size_t);
        memset(&o, 0xa5, sizeof o);
        mlxe_engine_options_init(&o.now, size);
        for (size_t at = written; at < sizeof o; at++) {
            CHECK(bytes[at] == 0xa5);
        }
        CHECK(written == 0 || o.now.struct_size == size);
        if (fits) {
            CHECK(o.now.device == MLXE_DEVICE_DEFAULT && !o.now.max_batch.given && o.now.json.data == NULL);
            o.now.device = MLXE_DEVICE_CPU;
            OK(mlxe_engine_new(&o.now, &e));
            mlxe_engine_free(e);
        } else {
            FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_engine_new(&o.now, &e));
        }
    }
    // What this version does not know asks for nothing.
    mlxe_engine_options_init(&o.now, sizeof o);
    CHECK(!o.now.max_batch.given && o.later[0] == 0 && o.later[1] == 0);
}

static void struct_sizes(void) {
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;
    mlxe_engine_t *e = NULL;
    NEWER(mlxe_engine_options_t) engine_options;
    mlxe_engine_options_init(&engine_options.now, sizeof engine_options);
    const size_t wrong[] = {0, 1, sizeof(mlxe_engine_options_t) - 1, SIZE_MAX, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        engine_options.now.struct_size = wrong[i];
        FAILS(bad, mlxe_engine_new(&engine_options.now, &e));
    }
    engine_options.now.struct_size = sizeof engine_options;
    OK(mlxe_engine_new(&engine_options.now, &e));
    mlxe_engine_free(e);
    engine_options.later[1] = 1;
    FAILS(bad, mlxe_engine_new(&engine_options.now, &e));

    mlxe_load_options_t load = load_options(directory);
    load.struct_size = 8;
    FAILS(bad, mlxe_load_start(engine, NULL, &load, NULL, NULL));
    NEWER(mlxe_generate_options_t) options = {.now = generate_options(2)};
    options.now.struct_size = sizeof options;
    watch_t w;
    NEWER(mlxe_generate_callbacks_t) callbacks = {.now = generate_callbacks(&w)};
    callbacks.now.struct_size = sizeof callbacks;
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options.now, &callbacks.now, &task));
    OK(mlxe_task_wait(task));
    CHECK(w.done == 1 && w.drop == 1 && w.tokens == 2);

    // Statistics of a newer header: what this library does not have stays as it is.
    NEWER(mlxe_generation_stats_t) stats = {.later = {7, 7}};
    FAILS(bad, mlxe_task_stats(task, &stats.now));
    stats.now.struct_size = sizeof stats;
    OK(mlxe_task_stats(task, &stats.now));
    CHECK(stats.now.generated_tokens == 2 && stats.now.struct_size == sizeof stats && stats.later[1] == 7);
    mlxe_task_free(task);
    mlxe_memory_t memory = {.struct_size = sizeof memory - 1};
    FAILS(bad, mlxe_memory_get(&memory));
    memory.struct_size = sizeof memory;
    OK(mlxe_memory_get(&memory));
    CHECK(memory.active > 0 && memory.peak >= memory.active);

    // Rejected, and dropped: the caller asks for something that only a newer library has.
    callbacks.now = generate_callbacks(&w);
    callbacks.now.struct_size = sizeof callbacks;
    callbacks.later[0] = 1;
    FAILS(bad, mlxe_generate_start(model, PROMPT, PROMPT_LEN, NULL, &callbacks.now, NULL));
    CHECK(w.done == 0 && w.drop == 1);
    // Not even where drop is can be known.
    callbacks.now = generate_callbacks(&w);
    callbacks.now.struct_size = 0;
    FAILS(bad, mlxe_generate_start(model, PROMPT, PROMPT_LEN, NULL, &callbacks.now, NULL));
    CHECK(w.drop == 0);
    NEWER(mlxe_load_callbacks_t) loading = {.now = load_callbacks(&w), .later = {0, 1}};
    loading.now.struct_size = sizeof loading;
    load = load_options(directory);
    FAILS(bad, mlxe_load_start(engine, NULL, &load, &loading.now, NULL));
    CHECK(w.done == 0 && w.drop == 1);
}

/// Rejected callbacks are dropped, and nothing else is called.
static void rejects(const char *what, const mlxe_generate_options_t *options) {
    watch_t w;
    mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
    mlxe_error_t *error = mlxe_generate_start(model, PROMPT, PROMPT_LEN, options, &callbacks, NULL);
    check(mlxe_error_code(error) == MLXE_ERROR_INVALID_ARGUMENT, what, __FILE__, __LINE__);
    mlxe_error_free(error);
    CHECK(w.events == 0 && w.done == 0 && w.drop == 1);
}

static void options(void) {
    const mlxe_generate_options_t good = generate_options(1);
    mlxe_generate_options_t o;
#define REJECT(field, value) (o = good, o.field = (value), rejects(#field " = " #value, &o))
    REJECT(temperature, mlxe_float(-1));
    REJECT(temperature, mlxe_float(NAN));
    REJECT(temperature, mlxe_float(1e300));
    REJECT(top_p, mlxe_float(1.5));
    REJECT(top_p, mlxe_float(-0.1));
    REJECT(min_p, mlxe_float(2));
    REJECT(xtc_probability, mlxe_float(3));
    REJECT(repetition_penalty, mlxe_float(-1));
    REJECT(min_tokens_to_keep, mlxe_int(0));
    REJECT(top_k, mlxe_int(-1));
    REJECT(top_k, mlxe_int(INT64_MAX));
    REJECT(max_tokens, mlxe_int(-1));
    REJECT(kv_bits, mlxe_int(7));
    REJECT(kv_bits, mlxe_int(UINT32_MAX));
    REJECT(max_context, mlxe_int(0));
    REJECT(max_context, mlxe_int(UINT32_MAX));
    REJECT(prefill_step_size, mlxe_int(UINT32_MAX));
    REJECT(dry_sequence_breakers_count, 1);
    REJECT(stop_count, 1);
    REJECT(logit_bias_count, 1);
    REJECT(extra_eos_count, 1);
    REJECT(extra_eos_count, SIZE_MAX);
    const mlxe_token_value_t unknown_token = {1u << 30, 1};
    o = good;
    o.logit_bias = &unknown_token;
    o.logit_bias_count = 1;
    rejects("a bias of an unknown token", &o);
    const mlxe_str_t not_utf8 = {"\xff\xfe", 2};
    o = good;
    o.stop = &not_utf8;
    o.stop_count = 1;
    rejects("a stop string that is not UTF-8", &o);
    const uint32_t unknown[] = {1u << 30};
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generate_start(model, unknown, 1, NULL, NULL, NULL));
    o = good;
    o.max_context = mlxe_int(2);
    FAILS(MLXE_ERROR_CONTEXT_FULL, mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, NULL, NULL));

    mlxe_engine_options_t eo;
    mlxe_engine_t *e = NULL;
    mlxe_engine_options_init(&eo, sizeof eo);
    eo.device = 99;
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_engine_new(&eo, &e));
    eo.device = MLXE_DEVICE_CPU;
    eo.max_batch = mlxe_int(0);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_engine_new(&eo, &e));
    eo.max_batch = mlxe_int(2);
    eo.json = MLXE_STR("{\"device\": \"tpu\"}");
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_engine_new(&eo, &e));
    eo.json = MLXE_STR("{\"device\": \"gpu\", \"max_batch\": 0}");
    OK(mlxe_engine_new(&eo, &e));
    CHECK(strcmp(mlxe_engine_device(e), "cpu") == 0);
    mlxe_engine_free(e);
}

static void process(void) {
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;
    mlxe_process_options_t now, wish;
    FAILS(bad, mlxe_process_set(NULL));
    FAILS(bad, mlxe_process_get(NULL));
    memset(&now, 0xa5, sizeof now);
    now.struct_size = 1;
    FAILS(bad, mlxe_process_get(&now));
    mlxe_process_options_init(&now, sizeof now);
    OK(mlxe_process_get(&now));
    CHECK(now.struct_size == sizeof now && now.cpu_threads.given && now.cpu_threads.value >= 1);
    CHECK(now.memory_limit.given && now.memory_limit.value > 0);
    // Kernels have run, so the number of threads stays; setting it to what it is changes nothing.
    mlxe_process_options_init(&wish, sizeof wish);
    wish.cpu_threads = mlxe_int(now.cpu_threads.value);
    wish.cache_limit = mlxe_u64(1 << 20);
    OK(mlxe_process_set(&wish));
    wish.cpu_threads = mlxe_int(now.cpu_threads.value + 1);
    FAILS(bad, mlxe_process_set(&wish));
    wish.cpu_threads = mlxe_int(0);
    FAILS(bad, mlxe_process_set(&wish));
    OK(mlxe_process_get(&now));
    CHECK(now.cache_limit.given && now.cache_limit.value == 1 << 20);
}

/// A rejection whose message says what is wrong.
static void rejects_json(const char *json, const char *part) {
    mlxe_generate_options_t o = generate_options(1);
    o.json = mlxe_str(json);
    mlxe_error_t *error = mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, NULL, NULL);
    check(mlxe_error_code(error) == MLXE_ERROR_INVALID_ARGUMENT, json, __FILE__, __LINE__);
    check(strstr(mlxe_error_message(error), part) != NULL, mlxe_error_message(error), __FILE__, __LINE__);
    CHECK(strncmp(mlxe_error_message(error), mlxe_error_summary(error), 10) == 0);
    mlxe_error_free(error);
}

static void options_as_json(void) {
    rejects_json("{\"temprature\": 1}", "temprature");
    rejects_json("{\"top_k\": -1}", "top_k");
    rejects_json("{\"top_p\": 7}", "top_p");
    rejects_json("{\"stop\": [\"a\", 1]}", "stop[1]");
    rejects_json("{\"dry_sequence_breakers\": [\"\"]}", "dry_sequence_breakers[0]");
    rejects_json("{", "options.json");
    rejects_json("{} {}", "options.json");
    rejects_json("[]", "options.json");
    rejects_json("\xff", "UTF-8");

    // The text need not outlive the call, and what fields give counts more.
    char json[] = "{\"max_tokens\": 5, \"ignore_eos\": true, \"temperature\": null}";
    mlxe_generate_options_t o;
    mlxe_generate_options_init(&o, sizeof o);
    o.json = mlxe_str(json);
    for (int i = 0; i < 2; i++) {
        watch_t w;
        mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
        mlxe_task_t *task = NULL;
        OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, &callbacks, &task));
        json[0] = 'x';
        OK(mlxe_task_wait(task));
        json[0] = '{';
        mlxe_task_free(task);
        CHECK(w.tokens == (i == 0 ? 5 : 2));
        o.max_tokens = mlxe_int(2);
    }
}

static void loads(void) {
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;
    watch_t w;
    mlxe_load_callbacks_t callbacks = load_callbacks(&w);
    mlxe_load_options_t o;
    mlxe_model_t *m = NULL;
    mlxe_load_options_init(&o, sizeof o);
    FAILS(bad, mlxe_load(engine, NULL, &o, &callbacks, &m));
    CHECK(w.done == 0 && w.drop == 1);
    // Nothing starts that could not be handed over.
    callbacks = load_callbacks(&w);
    o = load_options(directory);
    FAILS(bad, mlxe_load(engine, NULL, &o, &callbacks, NULL));
    CHECK(w.events == 0 && w.done == 0 && w.drop == 1);
    o.id = MLXE_STR("a/b");
    FAILS(bad, mlxe_load(engine, NULL, &o, NULL, &m));
    o = load_options(directory);
    o.dtype = 77;
    FAILS(bad, mlxe_load(engine, NULL, &o, NULL, &m));
    o = load_options(directory);
    o.tokenizer_directory = mlxe_str(directory);
    FAILS(bad, mlxe_load(engine, NULL, &o, NULL, &m));
    o = load_options("\xc3\x28");
    FAILS(bad, mlxe_load(engine, NULL, &o, NULL, &m));
    // A path with a NUL in it names no file.
    o.directory = MLXE_STR("/tmp\0/x");
    callbacks = load_callbacks(&w);
    mlxe_error_t *error = mlxe_load(engine, NULL, &o, &callbacks, &m);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_NOT_FOUND && w.done == 1 && w.drop == 1);
    CHECK(w.code == MLXE_ERROR_NOT_FOUND && w.phase == MLXE_PHASE_FAILED && m == NULL);
    mlxe_error_free(error);
}

static void strings(void) {
    mlxe_string_t *json = NULL;
    OK(mlxe_model_info_json(model, &json));
    CHECK(mlxe_string_len(json) == strlen(mlxe_string_data(json)));
    CHECK(strstr(mlxe_string_data(json), "\"model_type\"") != NULL);
    mlxe_string_free(json);
    OK(mlxe_model_config_json(model, &json));
    CHECK(strstr(mlxe_string_data(json), "\"hidden_size\"") != NULL);
    mlxe_string_free(json);
    OK(mlxe_supported_models_json(&json));
    CHECK(strstr(mlxe_string_data(json), "\"qwen3\"") != NULL);
    mlxe_string_free(json);
    CHECK(mlxe_str(NULL).len == 0 && mlxe_str("abc").len == 3 && MLXE_STR("a\0b").len == 3);
    CHECK(strcmp(mlxe_engine_device(engine), "cpu") == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", MLXE_VERSION_MAJOR, MLXE_VERSION_MINOR, MLXE_VERSION_PATCH);
    CHECK(strcmp(version, mlxe_version()) == 0 && strlen(mlxe_mlx_version()) > 0);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    directory = argv[1];
    engine = new_engine();
    model = load_model(engine, directory);
    null_pointers();
    init_sizes();
    struct_sizes();
    options();
    options_as_json();
    process();
    loads();
    strings();
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    return 0;
}
