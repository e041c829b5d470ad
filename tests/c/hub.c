// Downloads, lists, checks, imports, moves and removes models. Arguments: endpoint, id, a folder, a folder with a model.
#include <stdatomic.h>

#include "check.h"

typedef struct {
    atomic_int events, retries, paused, done, drop, code;
    int cancel_at;
    char result[4096];
    uint64_t bytes_done, bytes_total;
} seen_t;

static int32_t on_event(void *user, const mlxe_progress_t *e) {
    seen_t *s = user;
    CHECK(e->struct_size == sizeof *e && s->done == 0 && s->drop == 0);
    CHECK(e->stage >= MLXE_STAGE_LISTING && e->stage <= MLXE_STAGE_REMOVING && e->stage != MLXE_STAGE_READING);
    CHECK(strlen(e->stage_name) > 0 && e->file != NULL && e->file_index <= e->total_files);
    CHECK(e->bytes_done <= e->bytes_total && e->file_bytes_done <= e->file_bytes_total && e->bytes_per_second >= 0);
    CHECK((e->retry_attempt == 0) == (e->retry_reason == NULL) && e->retry_attempt <= e->retry_limit);
    s->retries += e->retry_attempt > 0;
    s->paused += e->is_paused;
    s->bytes_done = e->bytes_done;
    s->bytes_total = e->bytes_total;
    return ++s->events == s->cancel_at ? MLXE_CANCEL : MLXE_CONTINUE;
}

static void on_done(void *user, const char *json, const mlxe_error_t *error) {
    seen_t *s = user;
    CHECK(s->drop == 0 && (json == NULL) != (error == NULL));
    if (json != NULL) {
        snprintf(s->result, sizeof s->result, "%s", json);
    }
    s->code = mlxe_error_code(error);
    CHECK(++s->done == 1);
}

static void on_drop(void *user) {
    seen_t *s = user;
    CHECK(++s->drop == 1);
}

static mlxe_hub_callbacks_t callbacks_for(seen_t *s) {
    memset(s, 0, sizeof *s);
    return (mlxe_hub_callbacks_t){sizeof(mlxe_hub_callbacks_t), s, on_event, on_done, on_drop};
}

static void contains(mlxe_string_t *json, const char *part) {
    if (strstr(mlxe_string_data(json), part) == NULL) {
        fprintf(stderr, "%s\n", mlxe_string_data(json));
        CHECK(!"the JSON has what is expected");
    }
    mlxe_string_free(json);
}

/// Waits for a task, checks the contract and the result, and frees it.
static void ends(mlxe_task_t *task, const seen_t *s, const char *part) {
    mlxe_string_t *json = NULL;
    OK(mlxe_task_result(task, &json));
    CHECK(s->done == 1 && s->drop == 1 && s->events > 0 && mlxe_task_is_done(task));
    CHECK(strcmp(s->result, mlxe_string_data(json)) == 0);
    contains(json, part);
    mlxe_task_pause(task);
    mlxe_task_cancel(task);
    mlxe_task_free(task);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    char models[1024], elsewhere[1024];
    snprintf(models, sizeof models, "%s/models", argv[3]);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", argv[3]);
    mlxe_hub_t *hub = open_hub(argv[1], models, NULL, false);
    const mlxe_str_t id = mlxe_str(argv[2]), none = MLXE_STR(""), local = MLXE_STR("local/model");
    mlxe_string_t *json = NULL;
    mlxe_task_t *task = NULL;
    seen_t seen;

    // Nothing is there, and nothing is needed to say so.
    OK(mlxe_hub_list(hub, &json));
    contains(json, "[]");
    FAILS(MLXE_ERROR_NOT_FOUND, mlxe_hub_info(hub, id, &json));
    FAILS(MLXE_ERROR_NOT_FOUND, mlxe_hub_remove(hub, id, none, NULL));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_hub_info(hub, MLXE_STR("../x"), &json));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_hub_list(NULL, &json));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_hub_list(hub, NULL));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_result(NULL, &json));

    // Rejected callbacks are dropped.
    mlxe_hub_callbacks_t callbacks = callbacks_for(&seen);
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_hub_pull_start(NULL, id, none, &callbacks, &task));
    CHECK(seen.drop == 1 && seen.done == 0);

    // Cancelled at the first event.
    callbacks = callbacks_for(&seen);
    seen.cancel_at = 1;
    OK(mlxe_hub_pull_start(hub, id, none, &callbacks, &task));
    FAILS(MLXE_ERROR_CANCELLED, mlxe_task_wait(task));
    CHECK(seen.done == 1 && seen.drop == 1 && seen.code == MLXE_ERROR_CANCELLED);
    mlxe_task_free(task);

    // Paused, resumed, and finished in spite of a failing server.
    callbacks = callbacks_for(&seen);
    OK(mlxe_hub_pull_start(hub, id, none, &callbacks, &task));
    mlxe_task_pause(task);
    bool done = false;
    while (seen.paused == 0) {
        OK(mlxe_task_wait_for(task, 0.1, &done));
        CHECK(!done);
    }
    mlxe_task_resume(task);
    ends(task, &seen, "\"directory\"");
    CHECK(seen.retries > 0 && seen.bytes_done == seen.bytes_total && seen.bytes_total > 0);
    mlxe_task_free(NULL);

    OK(mlxe_hub_list(hub, &json));
    contains(json, "\"complete\":true");
    OK(mlxe_hub_info(hub, id, &json));
    contains(json, "\"main\"");

    callbacks = callbacks_for(&seen);
    OK(mlxe_hub_import_start(hub, mlxe_str(argv[4]), local, false, &callbacks, &task));
    ends(task, &seen, "local/model");
    callbacks = callbacks_for(&seen);
    OK(mlxe_hub_verify_start(hub, none, false, &callbacks, &task));
    ends(task, &seen, "\"sound\":true");

    // A task without callbacks, and one without a handle.
    OK(mlxe_hub_verify_start(hub, local, true, NULL, &task));
    OK(mlxe_task_result(task, &json));
    contains(json, "\"problems\":[]");
    mlxe_model_t *model = NULL;
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_model(task, &model));
    mlxe_task_free(task);
    callbacks = callbacks_for(&seen);
    OK(mlxe_hub_move_start(hub, mlxe_str(elsewhere), &callbacks, NULL));
    while (seen.drop == 0) {
    }
    CHECK(seen.done == 1 && strstr(seen.result, "local/model") != NULL);
    mlxe_hub_free(hub);

    hub = open_hub(argv[1], elsewhere, NULL, false);
    callbacks = callbacks_for(&seen);
    OK(mlxe_hub_prune_start(hub, 0, &id, 1, false, &callbacks, &task));
    ends(task, &seen, "local/model");
    OK(mlxe_hub_remove(hub, id, none, &json));
    contains(json, "\"bytes\"");
    OK(mlxe_hub_list(hub, &json));
    contains(json, "[]");
    mlxe_hub_free(hub);
    puts("kept tidy");
    return 0;
}
