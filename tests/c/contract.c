// The contract of callbacks, tasks, events and handles.
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "watch.h"

static mlxe_engine_t *engine;
static mlxe_model_t *model;
static const char *directory;

static void over(const watch_t *w, int code) {
    CHECK(w->done == 1 && w->drop == 1 && w->code == code);
}

static void loads(void) {
    const mlxe_load_options_t options = load_options(directory);
    watch_t w;
    mlxe_load_callbacks_t callbacks = load_callbacks(&w);
    mlxe_task_t *task = NULL;
    OK(mlxe_load_start(engine, NULL, &options, &callbacks, &task));
    mlxe_model_t *one = NULL, *two = NULL;
    OK(mlxe_task_model(task, &one));
    OK(mlxe_task_model(task, &two));
    CHECK(mlxe_task_is_done(task) && one != two && w.model != NULL);
    over(&w, MLXE_OK);
    CHECK(w.terminal == 1 && w.phase == MLXE_PHASE_READY && w.progress == 1);
    const int events = w.events;
    mlxe_task_cancel(task);  // after the end: nothing
    OK(mlxe_task_wait(task));
    CHECK(w.events == events);
    mlxe_task_free(task);
    mlxe_model_free(w.model);
    mlxe_model_free(two);
    mlxe_model_free(one);

    // Cancelled at each of its events in turn, of which there are not always as many. At the last it is too late.
    for (int at = 1; at <= events; at++) {
        callbacks = load_callbacks(&w);
        w.cancel_at = at;
        OK(mlxe_load_start(engine, NULL, &options, &callbacks, &task));
        mlxe_error_t *error = mlxe_task_wait(task);
        const int code = mlxe_error_code(error);
        CHECK(code == (w.cancelled ? MLXE_ERROR_CANCELLED : MLXE_OK));
        CHECK(w.cancelled || w.events <= at);
        over(&w, code);
        CHECK(w.terminal == 1 && w.phase == (w.cancelled ? MLXE_PHASE_CANCELLED : MLXE_PHASE_READY));
        mlxe_error_free(error);
        mlxe_task_free(task);
        mlxe_model_free(w.model);
    }

    // No functions at all, no task, no callbacks.
    mlxe_load_callbacks_t none = {sizeof none, NULL, NULL, NULL, NULL};
    OK(mlxe_load(engine, NULL, &options, &none, &one));
    mlxe_model_free(one);
    OK(mlxe_load_start(engine, NULL, &options, NULL, NULL));

    // Two at once, the handle of one given up at once.
    watch_t v;
    mlxe_load_callbacks_t others = load_callbacks(&v);
    callbacks = load_callbacks(&w);
    mlxe_task_t *second = NULL;
    OK(mlxe_load_start(engine, NULL, &options, &callbacks, &task));
    OK(mlxe_load_start(engine, NULL, &options, &others, &second));
    mlxe_task_free(second);
    OK(mlxe_task_wait(task));
    mlxe_task_free(task);
    while (atomic_load(&v.drop) == 0) {
        usleep(1000);
    }
    over(&w, MLXE_OK);
    over(&v, MLXE_OK);
    CHECK(w.model != v.model);
    mlxe_model_free(w.model);
    mlxe_model_free(v.model);
}

static void write_file(const char *folder, const char *name, const char *text) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void fails_to_load(const char *folder, int code) {
    mlxe_load_options_t options = load_options(folder);
    watch_t w;
    mlxe_load_callbacks_t callbacks = load_callbacks(&w);
    mlxe_model_t *none = NULL;
    FAILS(code, mlxe_load(engine, NULL, &options, &callbacks, &none));
    over(&w, code);
    CHECK(none == NULL && w.model == NULL && w.terminal == 1 && w.phase == MLXE_PHASE_FAILED);
}

static void broken_models(void) {
    char folder[] = "/tmp/mlxe-broken-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    fails_to_load("/nonexistent/model", MLXE_ERROR_NOT_FOUND);
    fails_to_load(folder, MLXE_ERROR_NOT_FOUND);
    write_file(folder, "config.json", "{");
    fails_to_load(folder, MLXE_ERROR_INVALID_CONFIG);
    write_file(folder, "config.json", "{\"model_type\": \"unheard of\"}");
    fails_to_load(folder, MLXE_ERROR_UNSUPPORTED_MODEL);
    mlxe_string_t *config = NULL;
    OK(mlxe_model_config_json(model, &config));
    write_file(folder, "config.json", mlxe_string_data(config));
    mlxe_string_free(config);
    write_file(folder, "model.safetensors", "too short");
    fails_to_load(folder, MLXE_ERROR_INVALID_WEIGHTS);
    char path[4096];
    snprintf(path, sizeof path, "rm -r '%s'", folder);
    CHECK(system(path) == 0);
}

static void getters(void) {
    mlxe_string_t *json = NULL;
    OK(mlxe_devices_json(&json));
    CHECK(strstr(mlxe_string_data(json), "\"device\":\"cpu\"") != NULL);
    CHECK(strstr(mlxe_string_data(json), "\"kernels\":\"") != NULL);
    mlxe_string_free(json);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_devices_json(NULL));
    mlxe_generate_options_t options = generate_options(7);
    options.top_k = mlxe_int(3);
    OK(mlxe_generate_options_json(model, &options, &json));
    const char *wanted[] = {"\"max_tokens\":7", "\"top_k\":3", "\"top_p\":1.0", "\"repetition_context_size\":20",
                            "\"seed\":null", "\"ignore_eos\":true", "\"dry_penalty_last_n\":0"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        CHECK(strstr(mlxe_string_data(json), wanted[i]) != NULL);
    }
    CHECK(strstr(mlxe_string_data(json), "\"max_context\":null") == NULL);
    mlxe_string_free(json);
    OK(mlxe_generate_options_json(model, NULL, &json));
    mlxe_string_free(json);
    options.top_p = mlxe_float(7);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generate_options_json(model, &options, &json));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generate_options_json(NULL, NULL, &json));
}

/// A bias that forbids all tokens is the caller's mistake, and says so.
static void banned(void) {
    mlxe_string_t *json = NULL;
    OK(mlxe_model_info_json(model, &json));
    const char *found = strstr(mlxe_string_data(json), "\"vocab_size\":");
    CHECK(found != NULL);
    const uint32_t count = (uint32_t)strtoul(found + strlen("\"vocab_size\":"), NULL, 10);
    mlxe_string_free(json);
    mlxe_token_value_t *bias = calloc(count, sizeof *bias);
    CHECK(bias != NULL);
    for (uint32_t i = 0; i < count; i++) {
        bias[i].token = i;
        bias[i].value = -INFINITY;
    }
    mlxe_generate_options_t options = generate_options(3);
    options.logit_bias = bias;
    options.logit_bias_count = count;
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options, NULL, &task));
    mlxe_error_t *error = mlxe_task_wait(task);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(mlxe_error_message(error), "logit_bias leaves no token") != NULL);
    mlxe_error_free(error);
    // A wait with a time tells the task's error too, and writes nothing.
    bool done = false;
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_wait_for(task, 1, &done));
    CHECK(!done && mlxe_task_is_done(task));
    mlxe_task_free(task);
    free(bias);
}

static watch_t generate(const mlxe_generate_options_t *options) {
    watch_t w;
    mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, options, &callbacks, &task));
    OK(mlxe_task_wait(task));
    over(&w, MLXE_OK);
    mlxe_generation_stats_t stats = stats_room();
    OK(mlxe_task_stats(task, &stats));
    CHECK(memcmp(&stats, &w.stats, sizeof stats) == 0);
    CHECK(stats.generated_tokens == w.tokens);
    mlxe_task_free(task);
    return w;
}

static bool same_tokens(const watch_t *a, const watch_t *b) {
    return a->tokens == b->tokens && memcmp(a->ids, b->ids, a->tokens * sizeof a->ids[0]) == 0;
}

static void generations(void) {
    mlxe_generate_options_t o = generate_options(12);
    o.prefill_step_size = mlxe_int(3);
    watch_t greedy = generate(&o);
    CHECK(greedy.tokens == 12 && greedy.stats.stop_reason == MLXE_STOP_LENGTH && greedy.prefilled == PROMPT_LEN);
    CHECK(greedy.stats.prompt_tokens == PROMPT_LEN && greedy.stats.time_to_first_token >= 0);
    for (int at = 1; at <= greedy.events; at++) {
        watch_t w;
        mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
        w.cancel_at = at;
        mlxe_task_t *task = NULL;
        OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, &callbacks, &task));
        OK(mlxe_task_wait(task));
        over(&w, MLXE_OK);
        CHECK(w.events == at);
        CHECK(w.stats.stop_reason == (at == greedy.events ? MLXE_STOP_LENGTH : MLXE_STOP_CANCELLED));
        mlxe_task_free(task);
    }
    o.max_tokens = mlxe_int(0);
    CHECK(generate(&o).tokens == 0);

    // The same seed, the same tokens; another seed, others.
    o = generate_options(40);
    o.temperature = mlxe_float(1.5);
    o.seed = mlxe_u64(7);
    watch_t a = generate(&o), b = generate(&o);
    CHECK(same_tokens(&a, &b) && a.stats.seed == 7);
    o.seed = mlxe_u64(8);
    watch_t c = generate(&o);
    CHECK(!same_tokens(&a, &c));

    // A bias that leaves no choice, and an end token of our own.
    const mlxe_token_value_t bias = {42, 1000};
    o = generate_options(5);
    o.logit_bias = &bias;
    o.logit_bias_count = 1;
    watch_t biased = generate(&o);
    CHECK(biased.tokens == 5 && biased.ids[0] == 42 && biased.ids[4] == 42);
    const uint32_t end = 42;
    o.extra_eos = &end;
    o.extra_eos_count = 1;
    o.ignore_eos = false;
    watch_t ended = generate(&o);
    CHECK(ended.tokens == 0 && ended.stats.stop_reason == MLXE_STOP_EOS && ended.stats.time_to_first_token < 0);

    // The context: prompt and answer together, and the token chosen with its last position.
    o = generate_options(0);
    o.max_tokens.given = false;
    o.max_context = mlxe_int(PROMPT_LEN + 3);
    watch_t full = generate(&o);
    CHECK(full.stats.stop_reason == MLXE_STOP_CONTEXT_FULL && full.tokens == 4);
}

static int32_t on_logprobs(void *user, const mlxe_generation_event_t *e) {
    if (e->kind == MLXE_GENERATION_TOKEN) {
        CHECK(e->top_count == 3 && e->top != NULL && e->logprob.given && e->logprob.value <= 0);
        CHECK(e->top[0].token == e->token && e->top[0].value == e->logprob.value);
        CHECK(e->top[0].value >= e->top[1].value && e->top[1].value >= e->top[2].value);
        ++*(int *)user;
    } else {
        CHECK(e->top_count == 0 && e->top == NULL && !e->logprob.given);
    }
    return MLXE_CONTINUE;
}

static void logprobs(void) {
    mlxe_generate_options_t o = generate_options(6);
    o.logprobs = mlxe_int(3);
    int seen = 0;
    mlxe_generate_callbacks_t callbacks = {sizeof callbacks, &seen, on_logprobs, NULL, NULL};
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, &callbacks, &task));
    OK(mlxe_task_wait(task));
    mlxe_task_free(task);
    CHECK(seen == 6);
}

typedef struct {
    watch_t inner;
    mlxe_task_t *mine, *started;
    mlxe_generation_t *generation;
    int tried;
} nested_t;

/// Everything that waits refuses to; everything else works.
static int32_t on_nested(void *user, const mlxe_generation_event_t *e) {
    nested_t *n = user;
    if (e->kind != MLXE_GENERATION_TOKEN || n->tried++ > 0) {
        return MLXE_CONTINUE;
    }
    const int32_t reentrant = MLXE_ERROR_REENTRANT;
    bool done = false;
    mlxe_model_t *none = NULL;
    mlxe_generation_stats_t stats = stats_room();
    const mlxe_generation_event_t *event = NULL;
    mlxe_load_options_t load = load_options(directory);
    watch_t rejected;
    mlxe_load_callbacks_t load_watch = load_callbacks(&rejected);
    FAILS(reentrant, mlxe_task_wait(n->mine));
    FAILS(reentrant, mlxe_task_wait_for(n->mine, 0.1, &done));
    FAILS(reentrant, mlxe_task_stats(n->mine, &stats));
    FAILS(reentrant, mlxe_load(engine, NULL, &load, &load_watch, &none));
    CHECK(rejected.done == 0 && rejected.drop == 1);
    FAILS(reentrant, mlxe_generation_next(n->generation, &event));
    FAILS(reentrant, mlxe_generation_stats(n->generation, &stats));
    mlxe_memory_t memory = {.struct_size = sizeof memory};
    OK(mlxe_memory_get(&memory));
    OK(mlxe_model_clone(model, &none));
    mlxe_model_free(none);
    mlxe_generate_options_t o = generate_options(3);
    mlxe_generate_callbacks_t callbacks = generate_callbacks(&n->inner);
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, &callbacks, &n->started));
    return MLXE_CONTINUE;
}

static void inside_callbacks(void) {
    nested_t n = {.tried = 0};
    mlxe_generate_options_t o = generate_options(1);
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &o, &n.generation));
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, NULL, &n.mine));
    o.max_tokens = mlxe_int(4);
    mlxe_generate_callbacks_t callbacks = {sizeof callbacks, &n, on_nested, NULL, NULL};
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &o, &callbacks, &task));
    OK(mlxe_task_wait(task));
    OK(mlxe_task_wait(n.started));
    over(&n.inner, MLXE_OK);
    CHECK(n.tried == 4 && n.inner.tokens == 3);
    mlxe_task_free(n.mine);
    mlxe_task_free(n.started);
    mlxe_task_free(task);
    mlxe_generation_free(n.generation);
}

static void iterators(void) {
    mlxe_generate_options_t o = generate_options(30);
    const watch_t expected = generate(&o);
    mlxe_generation_t *g = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &o, &g));
    const mlxe_generation_event_t *event = NULL;
    size_t tokens = 0;
    for (;;) {
        OK(mlxe_generation_next(g, &event));
        if (event == NULL) {
            break;
        }
        CHECK(event->kind != MLXE_GENERATION_TOKEN || event->token == expected.ids[tokens++]);
    }
    CHECK(tokens == expected.tokens);
    OK(mlxe_generation_next(g, &event));
    CHECK(event == NULL);
    mlxe_generation_free(g);

    // Cancelled after a few events: those made so far are still there, then the end.
    o.max_tokens = mlxe_int(400);
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &o, &g));
    OK(mlxe_generation_next(g, &event));
    mlxe_generation_cancel(g);
    mlxe_generation_cancel(g);
    mlxe_generation_stats_t stats = stats_room();
    OK(mlxe_generation_stats(g, &stats));
    CHECK(stats.stop_reason == MLXE_STOP_CANCELLED);
    do {
        OK(mlxe_generation_next(g, &event));
    } while (event != NULL);
    mlxe_generation_free(g);
    // Given up in the middle, and before the first event.
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &o, &g));
    OK(mlxe_generation_next(g, &event));
    mlxe_generation_free(g);
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &o, &g));
    mlxe_generation_free(g);
}

/// Handles are freed in the least likely order, while work is going on.
static void lifetimes(void) {
    mlxe_engine_t *e = new_engine();
    mlxe_model_t *m = load_model(e, directory);
    mlxe_engine_free(e);
    watch_t w;
    mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
    mlxe_generate_options_t o = generate_options(50);
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(m, PROMPT, PROMPT_LEN, &o, &callbacks, &task));
    mlxe_model_free(m);
    OK(mlxe_task_wait(task));
    over(&w, MLXE_OK);
    CHECK(w.tokens == 50);
    mlxe_task_free(task);

    // An engine given up while it loads; the task outlives all.
    e = new_engine();
    mlxe_load_options_t load = load_options(directory);
    OK(mlxe_load_start(e, NULL, &load, NULL, &task));
    mlxe_engine_free(e);
    OK(mlxe_task_model(task, &m));
    mlxe_task_free(task);
    OK(mlxe_generate_start(m, PROMPT, PROMPT_LEN, &o, NULL, &task));
    mlxe_model_free(m);
    OK(mlxe_task_wait(task));
    mlxe_task_free(task);
}

typedef struct {
    atomic_int messages, drops;
} sink_t;

static void on_message(void *user, int32_t level, const char *target, const char *message) {
    CHECK(level >= MLXE_LOG_ERROR && level <= MLXE_LOG_DEBUG && target != NULL && message != NULL);
    sink_t *sink = user;
    CHECK(sink->drops == 0);
    sink->messages++;
}

static void drop_sink(void *user) {
    ((sink_t *)user)->drops++;
}

static void logs(void) {
    sink_t a = {0}, b = {0}, c = {0};
    OK(mlxe_log_set_callback(MLXE_LOG_DEBUG, on_message, &a, drop_sink));
    mlxe_model_free(load_model(engine, directory));
    // One for each phase at least.
    CHECK(a.drops == 0 && a.messages >= 4);
    OK(mlxe_log_set_callback(MLXE_LOG_ERROR, on_message, &b, drop_sink));
    CHECK(a.drops == 1 && b.drops == 0);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_log_set_callback(99, on_message, &c, drop_sink));
    CHECK(c.drops == 1 && b.drops == 0);
    mlxe_model_free(load_model(engine, directory));
    // Nothing went wrong.
    CHECK(b.messages == 0);
    OK(mlxe_log_set_callback(MLXE_LOG_OFF, NULL, &c, drop_sink));
    CHECK(b.drops == 1 && c.drops == 2);
    OK(mlxe_log_set_callback(MLXE_LOG_OFF, NULL, NULL, NULL));
    CHECK(c.drops == 2);
}

/// A prompt that was there before is not processed again, and the tokens are the same.
static void prefixes(void) {
    mlxe_engine_options_t options;
    mlxe_engine_options_init(&options, sizeof options);
    options.device = MLXE_DEVICE_CPU;
    mlxe_engine_t *keeps = NULL, *none = engine;
    mlxe_model_t *kept = NULL, *plain = model;
    OK(mlxe_engine_new(&options, &keeps));
    model = kept = load_model(keeps, directory);
    mlxe_generate_options_t o = generate_options(12);
    o.prefill_step_size = mlxe_int(3);
    watch_t first = generate(&o), second = generate(&o);
    CHECK(first.stats.reused_tokens == 0 && first.stats.reuse_end == MLXE_REUSE_NOTHING_STORED);
    CHECK(second.stats.reused_tokens > 0 && second.stats.reused_tokens < PROMPT_LEN);
    CHECK(second.stats.matched_tokens >= second.stats.reused_tokens && same_tokens(&first, &second));
    CHECK(mlxe_engine_prefix_bytes(keeps) > 0 && mlxe_engine_prefix_bytes(none) == 0);
    mlxe_engine_clear_prefixes(keeps);
    CHECK(generate(&o).stats.reused_tokens == 0);
    model = plain;
    mlxe_model_free(kept);
    mlxe_engine_free(keeps);
    CHECK(mlxe_engine_prefix_bytes(NULL) == 0);
    mlxe_engine_clear_prefixes(NULL);
}

static void freed(void *user_data, const char *json, const mlxe_error_t *error) {
    CHECK(error == NULL && strncmp(json, "{\"freed_bytes\":", 15) == 0);
    ++*(int *)user_data;
}

/* Unloads a model that generates and of which two handles are left. */
static void unloads(void) {
    mlxe_model_t *other = load_model(engine, directory), *same = NULL;
    OK(mlxe_model_clone(other, &same));
    uint32_t prompt[] = {1, 2, 3};
    mlxe_generate_options_t options;
    mlxe_generate_options_init(&options, sizeof options);
    options.ignore_eos = true;
    mlxe_task_t *generation = NULL, *task = NULL;
    OK(mlxe_generate_start(other, prompt, 3, &options, NULL, &generation));
    int done = 0;
    mlxe_hub_callbacks_t callbacks = {.struct_size = sizeof callbacks, .user_data = &done, .on_done = freed};
    OK(mlxe_model_unload_start(other, &callbacks, &task));
    OK(mlxe_task_wait(task));
    CHECK(done == 1);
    mlxe_generation_stats_t stats = {.struct_size = sizeof stats};
    OK(mlxe_task_stats(generation, &stats));
    CHECK(stats.stop_reason == MLXE_STOP_CANCELLED && stats.queue_seconds >= 0);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generate_start(same, prompt, 3, NULL, NULL, NULL));
    mlxe_task_free(task);
    OK(mlxe_model_unload_start(same, NULL, &task));
    OK(mlxe_task_wait(task));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_model_unload_start(NULL, &callbacks, NULL));
    mlxe_task_free(task);
    mlxe_task_free(generation);
    mlxe_model_free(other);
    mlxe_model_free(same);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    directory = argv[1];
    engine = new_engine();
    model = load_model(engine, directory);
    loads();
    broken_models();
    getters();
    banned();
    generations();
    prefixes();
    logprobs();
    inside_callbacks();
    iterators();
    lifetimes();
    logs();
    unloads();
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    return 0;
}
