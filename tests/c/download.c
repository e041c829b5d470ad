// Loads a model that is not there yet, from a server that fails at first. Arguments: endpoint, id, cache folder, id of the
// small trained model.
#include "watch.h"

// Whether the model's answer about the capital of France has a full stop.
static bool stops(const mlxe_model_t *model) {
    const mlxe_str_t messages = mlxe_str("[{\"role\": \"user\", \"content\": \"What is the capital of France?\"}]");
    mlxe_tokenizer_t *tokenizer = NULL;
    mlxe_string_t *prompt = NULL;
    mlxe_tokens_t *tokens = NULL;
    mlxe_generation_t *generation = NULL;
    OK(mlxe_model_tokenizer(model, &tokenizer));
    OK(mlxe_tokenizer_apply_chat_template(tokenizer, messages, NULL, &prompt));
    const mlxe_str_t text = {mlxe_string_data(prompt), mlxe_string_len(prompt)};
    OK(mlxe_tokenizer_encode(tokenizer, text, false, &tokens));
    OK(mlxe_generation_new(model, mlxe_tokens_data(tokens), mlxe_tokens_len(tokens), NULL, &generation));
    bool found = false;
    const mlxe_generation_event_t *event = NULL;
    for (OK(mlxe_generation_next(generation, &event)); event != NULL; OK(mlxe_generation_next(generation, &event))) {
        found |= strchr(event->text, '.') != NULL;
    }
    mlxe_generation_stats_t stats = stats_room();
    OK(mlxe_generation_stats(generation, &stats));
    CHECK(stats.stop_reason == MLXE_STOP_EOS && stats.generated_tokens > 2);
    mlxe_generation_free(generation);
    mlxe_tokens_free(tokens);
    mlxe_string_free(prompt);
    mlxe_tokenizer_free(tokenizer);
    return found;
}

/// The number after a key of the JSON that describes a model.
static int uses(const mlxe_hub_t *hub, mlxe_str_t id) {
    mlxe_string_t *json = NULL;
    OK(mlxe_hub_info(hub, id, &json));
    const char *key = strstr(mlxe_string_data(json), "\"uses\":");
    CHECK(key != NULL);
    const int number = atoi(key + strlen("\"uses\":"));
    mlxe_string_free(json);
    return number;
}

typedef struct {
    const mlxe_hub_t *hub;
    mlxe_str_t id;
    int refused;
} remover_t;

/// Tries to remove the model while its weights are read.
static int32_t remove_it(void *user, const mlxe_load_event_t *event) {
    remover_t *remover = user;
    if (event->phase == MLXE_PHASE_LOADING_WEIGHTS) {
        FAILS(MLXE_ERROR_BUSY, mlxe_hub_remove(remover->hub, remover->id, MLXE_STR(""), NULL));
        remover->refused++;
    }
    return MLXE_CONTINUE;
}

/// The folder that a download gives is still the model that it is.
static void loads_by_folder(const mlxe_engine_t *engine, const mlxe_hub_t *hub, mlxe_str_t id) {
    mlxe_task_t *task = NULL;
    mlxe_string_t *json = NULL;
    OK(mlxe_hub_pull_start(hub, id, MLXE_STR(""), NULL, &task));
    OK(mlxe_task_result(task, &json));
    mlxe_task_free(task);
    const char *begin = strstr(mlxe_string_data(json), "\"directory\":\"");
    CHECK(begin != NULL);
    begin += strlen("\"directory\":\"");
    mlxe_load_options_t options;
    mlxe_load_options_init(&options, sizeof options);
    options.directory = (mlxe_str_t){begin, strcspn(begin, "\"")};
    const int before = uses(hub, id);
    remover_t remover = {hub, id, 0};
    mlxe_load_callbacks_t callbacks = {.struct_size = sizeof callbacks, .user_data = &remover, .on_event = remove_it};
    mlxe_model_t *model = NULL;
    OK(mlxe_load(engine, hub, &options, &callbacks, &model));
    CHECK(remover.refused > 0 && uses(hub, id) == before + 1 && !stops(model));
    mlxe_model_free(model);
    mlxe_string_free(json);
    // It is in memory, so its files may go.
    OK(mlxe_hub_remove(hub, id, MLXE_STR(""), NULL));
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    mlxe_engine_options_t engine_options;
    mlxe_engine_options_init(&engine_options, sizeof engine_options);
    engine_options.device = MLXE_DEVICE_CPU;
    mlxe_engine_t *engine = NULL;
    OK(mlxe_engine_new(&engine_options, &engine));

    mlxe_hub_t *hub = open_hub(argv[1], argv[3], "hf_secret", false);
    mlxe_hub_t *offline = open_hub(argv[1], argv[3], "hf_secret", true);
    mlxe_load_options_t options;
    mlxe_load_options_init(&options, sizeof options);
    options.id = mlxe_str(argv[2]);
    options.without_tokenizer = true;

    // Nothing is there yet, and it may not be fetched.
    watch_t watch;
    mlxe_load_callbacks_t callbacks = load_callbacks(&watch);
    mlxe_model_t *model = NULL;
    mlxe_error_t *error = mlxe_load(engine, offline, &options, &callbacks, &model);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_NOT_FOUND && model == NULL);
    CHECK(strstr(mlxe_error_message(error), "offline") != NULL);
    mlxe_error_free(error);
    CHECK(watch.drop == 1 && watch.downloads == 0);

    callbacks = load_callbacks(&watch);
    OK(mlxe_load(engine, hub, &options, &callbacks, &model));
    CHECK(watch.done == 1 && watch.drop == 1 && watch.terminal == 1 && watch.progress == 1);
    CHECK(watch.downloads > 0 && watch.retries > 0);
    mlxe_model_free(watch.model);
    mlxe_model_free(model);

    // Now it is there. The load keeps what it needs of the hub.
    callbacks = load_callbacks(&watch);
    mlxe_task_t *task = NULL;
    OK(mlxe_load_start(engine, offline, &options, &callbacks, &task));
    mlxe_hub_free(offline);
    OK(mlxe_task_wait(task));
    CHECK(watch.downloads == 0 && watch.done == 1);
    mlxe_task_free(task);
    mlxe_model_free(watch.model);

    // What the hub's catalogue says of an id counts from the next load on, by the id and by the folder.
    options.id = mlxe_str(argv[4]);
    options.without_tokenizer = false;
    OK(mlxe_load(engine, hub, &options, NULL, &model));
    CHECK(stops(model));
    mlxe_model_free(model);
    char entry[512];
    snprintf(entry, sizeof entry,
             "{\"id\": \"%s\", \"name\": \"Tiny\", \"short_name\": \"tiny\", \"parameters\": 1, \"bits\": 16, "
             "\"architecture\": \"qwen3\", \"context\": 64, \"extra_eos\": [\".\"]}",
             argv[4]);
    OK(mlxe_hub_catalog_add(hub, mlxe_str(entry)));
    OK(mlxe_load(engine, hub, &options, NULL, &model));
    CHECK(!stops(model));
    mlxe_model_free(model);
    loads_by_folder(engine, hub, mlxe_str(argv[4]));
    mlxe_hub_free(hub);
    mlxe_engine_free(engine);
    puts("downloaded");
    return 0;
}
