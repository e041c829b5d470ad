// Events that are pulled: waiting, waiting for a while, not waiting, and by a file descriptor; copies; names.
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "watch.h"

static mlxe_engine_t *engine;
static mlxe_model_t *model;

static bool readable(int32_t fd, int milliseconds) {
    struct pollfd one = {fd, POLLIN, 0};
    const int ready = poll(&one, 1, milliseconds);
    CHECK(ready >= 0 && (one.revents & (POLLERR | POLLNVAL)) == 0);
    return ready == 1;
}

static void errors(void) {
    CHECK(strcmp(mlxe_error_name(MLXE_OK), "MLXE_OK") == 0);
    CHECK(strcmp(mlxe_error_name(MLXE_ERROR_BUSY), "MLXE_ERROR_BUSY") == 0);
    CHECK(strcmp(mlxe_error_name(-1), "unknown") == 0 && strcmp(mlxe_error_name(INT32_MAX), "unknown") == 0);
    CHECK(mlxe_error_clone(NULL) == NULL);
    mlxe_error_t *error = mlxe_task_wait(NULL);
    mlxe_error_t *copy = mlxe_error_clone(error);
    CHECK(copy != error && mlxe_error_code(copy) == MLXE_ERROR_INVALID_ARGUMENT);
    CHECK(strcmp(mlxe_error_message(copy), mlxe_error_message(error)) == 0);
    mlxe_error_free(error);
    CHECK(strlen(mlxe_error_message(copy)) > 0);
    mlxe_error_free(copy);
}

/// All tokens by one way of taking them.
typedef enum { WAITING, FOR_A_WHILE, BY_DESCRIPTOR } way_t;

static size_t generated(way_t way, uint32_t *ids) {
    mlxe_generate_options_t options = generate_options(12);
    options.logprobs = mlxe_int(2);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &generation));
    int32_t fd = -1, again = -1;
    if (way == BY_DESCRIPTOR) {
        OK(mlxe_generation_fd(generation, &fd));
        OK(mlxe_generation_fd(generation, &again));
        CHECK(fd >= 0 && fd == again);
    }
    const mlxe_generation_event_t *event = NULL;
    mlxe_generation_event_t *kept = NULL;
    size_t count = 0;
    bool done = false;
    while (!done) {
        switch (way) {
        case WAITING:
            OK(mlxe_generation_next(generation, &event));
            done = event == NULL;
            break;
        case FOR_A_WHILE:
            OK(mlxe_generation_next_for(generation, 0.01, &event, &done));
            break;
        case BY_DESCRIPTOR:
            CHECK(readable(fd, 60000));
            OK(mlxe_generation_try_next(generation, &event, &done));
            CHECK(event != NULL || done);
            break;
        }
        if (event != NULL && event->kind == MLXE_GENERATION_TOKEN) {
            CHECK(event->top_count == 2);
            ids[count++] = event->token;
            if (kept == NULL) {
                kept = mlxe_generation_event_clone(event);
            }
        }
    }
    CHECK(count == 12 && kept != NULL && kept->struct_size == sizeof *kept && kept->token == ids[0]);
    CHECK(kept->top != NULL && kept->top_count == 2 && kept->top[0].token == ids[0]);
    CHECK(strlen(kept->text) == kept->text_len);
    mlxe_generation_event_free(kept);
    // It stays at its end.
    OK(mlxe_generation_try_next(generation, &event, &done));
    CHECK(event == NULL && done);
    OK(mlxe_generation_next_for(generation, 1e19, &event, &done));
    CHECK(event == NULL && done && (way != BY_DESCRIPTOR || readable(fd, 0)));
    mlxe_generation_stats_t stats = stats_room();
    OK(mlxe_generation_stats(generation, &stats));
    CHECK(stats.generated_tokens == count);
    mlxe_generation_free(generation);
    return count;
}

static void generations(void) {
    uint32_t ids[3][12];
    for (int way = WAITING; way <= BY_DESCRIPTOR; way++) {
        CHECK(generated((way_t)way, ids[way]) == 12);
        CHECK(memcmp(ids[0], ids[way], sizeof ids[0]) == 0);
    }
    // What was not written stays.
    mlxe_generate_options_t options = generate_options(400);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &generation));
    const mlxe_generation_event_t untouched = {0};
    const mlxe_generation_event_t *event = &untouched;
    bool done = true;
    const double times[] = {-1, -0.001};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_next_for(generation, times[i], &event, &done));
    }
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_next_for(generation, 1, NULL, &done));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_next_for(generation, 1, &event, NULL));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_try_next(generation, NULL, &done));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_try_next(NULL, &event, &done));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_generation_fd(generation, NULL));
    CHECK(event == &untouched && done);
    mlxe_generation_cancel(generation);
    int32_t fd = -1;
    OK(mlxe_generation_fd(generation, &fd));
    do {
        CHECK(readable(fd, 60000));
        OK(mlxe_generation_try_next(generation, &event, &done));
    } while (!done);
    mlxe_generation_free(generation);
}

typedef struct {
    mlxe_generation_t *other;
    atomic_int asked;
} inside_t;

/// Not waiting is allowed in callbacks, waiting is not.
static int32_t on_inside(void *user, const mlxe_generation_event_t *e) {
    inside_t *inside = user;
    (void)e;
    const mlxe_generation_event_t *event = NULL;
    bool done = false;
    int32_t fd = -1;
    OK(mlxe_generation_try_next(inside->other, &event, &done));
    FAILS(MLXE_ERROR_REENTRANT, mlxe_generation_next_for(inside->other, 0, &event, &done));
    OK(mlxe_generation_fd(inside->other, &fd));
    inside->asked++;
    return MLXE_CONTINUE;
}

static void in_callbacks(void) {
    mlxe_generate_options_t options = generate_options(8);
    inside_t inside = {NULL, 0};
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &inside.other));
    const mlxe_generate_callbacks_t callbacks = {sizeof callbacks, &inside, on_inside, NULL, NULL};
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options, &callbacks, &task));
    CHECK(mlxe_task_kind(task) == MLXE_TASK_GENERATION);
    OK(mlxe_task_wait(task));
    CHECK(inside.asked > 0);
    mlxe_task_free(task);
    mlxe_generation_free(inside.other);
}

static void loads(const char *directory) {
    mlxe_load_options_t options = load_options(directory);
    for (int by_descriptor = 0; by_descriptor < 2; by_descriptor++) {
        mlxe_load_callbacks_t callbacks;
        memset(&callbacks, 0, sizeof callbacks);
        mlxe_load_events_t *events = NULL;
        FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_load_events_new(&callbacks, &events));
        callbacks.struct_size = sizeof callbacks;
        FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_load_events_new(&callbacks, NULL));
        FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_load_events_new(NULL, &events));
        OK(mlxe_load_events_new(&callbacks, &events));
        const mlxe_load_event_t *event = NULL;
        bool done = true;
        OK(mlxe_load_events_try_next(events, &event, &done));
        CHECK(event == NULL && !done);
        OK(mlxe_load_events_next_for(events, 0.001, &event, &done));
        CHECK(event == NULL && !done);
        int32_t fd = -1;
        OK(mlxe_load_events_fd(events, &fd));
        CHECK(!readable(fd, 0));
        mlxe_task_t *task = NULL;
        OK(mlxe_load_start(engine, NULL, &options, &callbacks, &task));
        CHECK(mlxe_task_kind(task) == MLXE_TASK_LOAD && mlxe_task_kind(NULL) == MLXE_TASK_OTHER);
        mlxe_load_event_t *kept[1000];
        size_t count = 0;
        while (true) {
            if (by_descriptor) {
                CHECK(readable(fd, 60000));
                OK(mlxe_load_events_try_next(events, &event, &done));
            } else {
                OK(mlxe_load_events_next(events, &event));
                done = event == NULL;
            }
            if (done) {
                break;
            }
            CHECK(event != NULL && count < sizeof kept / sizeof kept[0]);
            kept[count++] = mlxe_load_event_clone(event);
        }
        CHECK(readable(fd, 0) && count > 3);
        // Copies say what callbacks are told.
        watch_t w;
        (void)load_callbacks(&w);
        for (size_t i = 0; i < count; i++) {
            watch_load(&w, kept[i]);
            mlxe_load_event_free(kept[i]);
        }
        CHECK(w.phase == MLXE_PHASE_READY);
        mlxe_load_events_free(events);
        mlxe_model_t *loaded = NULL;
        OK(mlxe_task_model(task, &loaded));
        mlxe_model_free(loaded);
        mlxe_task_free(task);
    }
    // A load that fails, that is refused, and whose events nobody wants any more.
    mlxe_load_callbacks_t callbacks;
    callbacks.struct_size = sizeof callbacks;
    mlxe_load_events_t *events = NULL;
    const mlxe_load_event_t *event = NULL;
    OK(mlxe_load_events_new(&callbacks, &events));
    mlxe_load_options_t missing = load_options("/nonexistent/model");
    OK(mlxe_load_start(engine, NULL, &missing, &callbacks, NULL));
    int last = 0;
    while (true) {
        mlxe_error_t *error = mlxe_load_events_next(events, &event);
        if (error != NULL) {
            CHECK(mlxe_error_code(error) == MLXE_ERROR_NOT_FOUND);
            mlxe_error_free(error);
            break;
        }
        CHECK(event != NULL);
        last = event->phase;
    }
    CHECK(last == MLXE_PHASE_FAILED);
    mlxe_load_events_free(events);
    OK(mlxe_load_events_new(&callbacks, &events));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_load_start(engine, NULL, NULL, &callbacks, NULL));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_load_events_next(events, &event));
    mlxe_load_events_free(events);
    OK(mlxe_load_events_new(&callbacks, &events));
    mlxe_load_events_free(events);
    mlxe_model_t *loaded = NULL;
    OK(mlxe_load(engine, NULL, &options, &callbacks, &loaded));
    mlxe_model_free(loaded);
    mlxe_load_events_free(NULL);
    mlxe_load_event_free(mlxe_load_event_clone(NULL));
}

static void hub_work(const char *directory) {
    char folder[] = "/tmp/mlxe-pull-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    mlxe_hub_t *hub = open_hub("http://127.0.0.1:1", folder, NULL, true);
    mlxe_hub_callbacks_t callbacks;
    callbacks.struct_size = sizeof callbacks;
    mlxe_hub_events_t *events = NULL;
    OK(mlxe_hub_events_new(&callbacks, &events));
    int32_t fd = -1;
    OK(mlxe_hub_events_fd(events, &fd));
    CHECK(!readable(fd, 0));
    mlxe_task_t *task = NULL;
    OK(mlxe_hub_import_start(hub, mlxe_str(directory), MLXE_STR("org/model"), false, &callbacks, &task));
    CHECK(mlxe_task_kind(task) == MLXE_TASK_HUB);
    const mlxe_progress_t *event = NULL;
    mlxe_progress_t *kept = NULL;
    bool done = false;
    while (true) {
        CHECK(readable(fd, 60000));
        OK(mlxe_hub_events_try_next(events, &event, &done));
        if (done) {
            break;
        }
        CHECK(event != NULL && event->struct_size == sizeof *event);
        mlxe_progress_free(kept);
        kept = mlxe_progress_clone(event);
    }
    CHECK(kept != NULL && strcmp(kept->stage_name, "copying") == 0 && kept->bytes_done == kept->bytes_total);
    mlxe_progress_free(kept);
    mlxe_progress_free(mlxe_progress_clone(NULL));
    mlxe_string_t *json = NULL;
    OK(mlxe_task_result(task, &json));
    // An import is no use.
    CHECK(strstr(mlxe_string_data(json), "\"uses\":0") != NULL);
    mlxe_string_free(json);
    mlxe_task_free(task);
    mlxe_hub_events_free(events);

    // The error of a task comes after its events, and names what was set.
    OK(mlxe_hub_events_new(&callbacks, &events));
    OK(mlxe_hub_pull_start(hub, MLXE_STR("org/other"), MLXE_STR(""), &callbacks, NULL));
    mlxe_error_t *error = NULL;
    do {
        error = mlxe_hub_events_next(events, &event);
    } while (error == NULL && event != NULL);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_NOT_FOUND);
    CHECK(strstr(mlxe_error_message(error), "the option offline is set") != NULL);
    mlxe_error_free(error);
    FAILS(MLXE_ERROR_NOT_FOUND, mlxe_hub_events_next_for(events, 1, &event, &done));
    mlxe_hub_events_free(events);
    mlxe_hub_free(hub);
    char command[4096];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0);
}

static void *take_all(void *user) {
    mlxe_generation_t *generation = user;
    const mlxe_generation_event_t *event = NULL;
    bool done = false;
    size_t count = 0;
    while (!done) {
        OK(mlxe_generation_next_for(generation, 0.001, &event, &done));
        count += event != NULL;
    }
    return (void *)count;
}

/// Several threads share a generation: each event goes to one of them.
static void threads(void) {
    mlxe_generate_options_t options = generate_options(100);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &generation));
    pthread_t takers[4];
    size_t sum = 0;
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&takers[i], NULL, take_all, generation) == 0);
    }
    for (int i = 0; i < 4; i++) {
        void *count = NULL;
        CHECK(pthread_join(takers[i], &count) == 0);
        sum += (size_t)count;
    }
    CHECK(sum >= 101);
    mlxe_generation_free(generation);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    engine = new_engine();
    model = load_model(engine, argv[1]);
    errors();
    generations();
    in_callbacks();
    loads(argv[1]);
    hub_work(argv[1]);
    threads();
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    return 0;
}
