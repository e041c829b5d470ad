// Looks for a model and estimates it before it is downloaded. Arguments: endpoint, id, cache folder.
#include "check.h"

typedef struct {
    int done, drop, failed;
    char json[4096];
} seen_t;

static void on_done(void *user_data, const char *json, const mlxe_error_t *error) {
    seen_t *seen = user_data;
    CHECK(seen->drop == 0);
    seen->done++;
    CHECK((json == NULL) != (error == NULL));
    if (error != NULL) {
        seen->failed = mlxe_error_code(error);
    } else {
        CHECK(strlen(json) < sizeof seen->json);
        strcpy(seen->json, json);
    }
}

static void on_drop(void *user_data) {
    ((seen_t *)user_data)->drop++;
}

static mlxe_hub_callbacks_t callbacks_for(seen_t *seen) {
    memset(seen, 0, sizeof *seen);
    mlxe_hub_callbacks_t callbacks = {0};
    callbacks.struct_size = sizeof callbacks;
    callbacks.user_data = seen;
    callbacks.on_done = on_done;
    callbacks.drop = on_drop;
    return callbacks;
}

static void refused(mlxe_error_t *error, const char *word) {
    CHECK(mlxe_error_code(error) == MLXE_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(mlxe_error_message(error), word) != NULL);
    mlxe_error_free(error);
}

// The server stalls in the middle of an answer.
static void cancel_at_once(const mlxe_hub_t *hub, const mlxe_load_options_t *options) {
    seen_t seen;
    mlxe_hub_callbacks_t callbacks = callbacks_for(&seen);
    mlxe_task_t *task = NULL;
    OK(mlxe_estimate_start(hub, options, MLXE_STR(""), &callbacks, &task));
    bool done = true;
    OK(mlxe_task_wait_for(task, 0.5, &done));
    CHECK(!done && seen.done == 0);
    mlxe_task_cancel(task);
    FAILS(MLXE_ERROR_CANCELLED, mlxe_task_wait_for(task, 0.3, &done));
    CHECK(!done && mlxe_task_is_done(task) && seen.done == 1 && seen.drop == 1 && seen.failed == MLXE_ERROR_CANCELLED);
    mlxe_task_free(task);
}

int main(int argc, char **argv) {
    CHECK(argc == 4 || argc == 5);
    mlxe_hub_t *hub = open_hub(argv[1], argv[3], NULL, false);
    mlxe_load_options_t options;
    mlxe_load_options_init(&options, sizeof options);
    options.id = mlxe_str(argv[2]);
    seen_t seen;
    mlxe_hub_callbacks_t callbacks = callbacks_for(&seen);
    mlxe_task_t *task = NULL;
    mlxe_string_t *json = NULL;

    if (argc == 5) {
        cancel_at_once(hub, &options);
        mlxe_hub_free(hub);
        return 0;
    }

    OK(mlxe_hub_search_start(hub, MLXE_STR("{\"library\": \"\", \"limit\": 5}"), &callbacks, &task));
    OK(mlxe_task_result(task, &json));
    CHECK(strstr(mlxe_string_data(json), argv[2]) != NULL);
    CHECK(seen.done == 1 && seen.drop == 1 && strcmp(seen.json, mlxe_string_data(json)) == 0);
    mlxe_string_free(json);
    mlxe_model_t *model = NULL;
    refused(mlxe_task_model(task, &model), "task is a search, not a load");
    mlxe_task_free(task);

    // What is refused is dropped, and nothing else happens.
    callbacks = callbacks_for(&seen);
    refused(mlxe_hub_search_start(hub, MLXE_STR("{\"limt\": 5}"), &callbacks, &task), "limt");
    CHECK(seen.done == 0 && seen.drop == 1);
    callbacks = callbacks_for(&seen);
    refused(mlxe_hub_search_start(NULL, MLXE_STR(""), &callbacks, &task), "hub");
    CHECK(seen.done == 0 && seen.drop == 1);
    callbacks = callbacks_for(&seen);
    refused(mlxe_estimate_start(hub, NULL, MLXE_STR(""), &callbacks, &task), "options");
    CHECK(seen.done == 0 && seen.drop == 1);
    callbacks = callbacks_for(&seen);
    refused(mlxe_estimate_start(hub, &options, MLXE_STR("{\"kv_bits\": 7}"), &callbacks, &task), "kv_bits");
    CHECK(seen.done == 0 && seen.drop == 1);

    callbacks = callbacks_for(&seen);
    OK(mlxe_estimate_start(hub, &options, MLXE_STR("{\"context\": 64, \"device\": \"cpu\"}"), &callbacks, &task));
    OK(mlxe_task_wait(task));
    CHECK(seen.done == 1 && seen.drop == 1 && seen.failed == 0);
    CHECK(strstr(seen.json, "\"supported\":true") != NULL && strstr(seen.json, "\"kv_cache\":") != NULL);
    mlxe_task_free(task);

    // Without callbacks, and for what is not there.
    options.id = MLXE_STR("org/absent");
    OK(mlxe_estimate_start(hub, &options, MLXE_STR(""), NULL, &task));
    mlxe_error_t *error = mlxe_task_result(task, &json);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_ACCESS_DENIED);
    mlxe_error_free(error);
    mlxe_task_free(task);

    // What an app adds to one hub's catalogue, another does not know.
    mlxe_hub_t *other = open_hub(argv[1], argv[3], NULL, false);
    OK(mlxe_hub_catalog_add(hub, MLXE_STR("{\"id\": \"org/mine\", \"name\": \"Mine\", \"short_name\": \"mine\","
                                          "\"parameters\": 1000, \"bits\": 4, \"architecture\": \"a\", \"context\": 10}")));
    OK(mlxe_hub_catalog(hub, &json));
    CHECK(strstr(mlxe_string_data(json), "org/mine") != NULL);
    mlxe_string_free(json);
    OK(mlxe_hub_catalog(other, &json));
    CHECK(strstr(mlxe_string_data(json), "org/mine") == NULL && strlen(mlxe_string_data(json)) > 100);
    mlxe_string_free(json);
    refused(mlxe_hub_catalog_add(hub, MLXE_STR("{\"id\": \"../x\"}")), "entry");
    refused(mlxe_hub_catalog_add(NULL, MLXE_STR("[]")), "hub");
    refused(mlxe_hub_catalog(NULL, &json), "hub");
    mlxe_hub_free(other);
    mlxe_hub_free(hub);
    puts("found");
    return 0;
}
