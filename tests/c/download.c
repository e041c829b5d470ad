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

int main(int argc, char **argv) {
    CHECK(argc == 5);
    mlxe_engine_options_t engine_options;
    mlxe_engine_options_init(&engine_options, sizeof engine_options);
    engine_options.device = MLXE_DEVICE_CPU;
    mlxe_engine_t *engine = NULL;
    OK(mlxe_engine_new(&engine_options, &engine));

    mlxe_load_options_t options;
    mlxe_load_options_init(&options, sizeof options);
    options.id = mlxe_str(argv[2]);
    options.cache_directory = mlxe_str(argv[3]);
    options.endpoint = mlxe_str(argv[1]);
    options.token = mlxe_str("hf_secret");
    options.without_tokenizer = true;

    // Nothing is there yet, and it may not be fetched.
    options.offline = true;
    watch_t watch;
    mlxe_load_callbacks_t callbacks = load_callbacks(&watch);
    mlxe_model_t *model = NULL;
    mlxe_error_t *error = mlxe_load(engine, &options, &callbacks, &model);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_NOT_FOUND && model == NULL);
    CHECK(strstr(mlxe_error_message(error), "offline") != NULL);
    mlxe_error_free(error);
    CHECK(watch.drop == 1 && watch.downloads == 0);

    options.offline = false;
    callbacks = load_callbacks(&watch);
    OK(mlxe_load(engine, &options, &callbacks, &model));
    CHECK(watch.done == 1 && watch.drop == 1 && watch.terminal == 1 && watch.progress == 1);
    CHECK(watch.downloads > 0 && watch.retries > 0);
    mlxe_model_free(watch.model);
    mlxe_model_free(model);

    // Now it is there.
    options.offline = true;
    callbacks = load_callbacks(&watch);
    OK(mlxe_load(engine, &options, &callbacks, &model));
    CHECK(watch.downloads == 0);
    mlxe_model_free(watch.model);
    mlxe_model_free(model);

    // What the catalogue says of an id counts from the next load on.
    options.id = mlxe_str(argv[4]);
    options.offline = false;
    options.without_tokenizer = false;
    OK(mlxe_load(engine, &options, NULL, &model));
    CHECK(stops(model));
    mlxe_model_free(model);
    char entry[512];
    snprintf(entry, sizeof entry,
             "{\"id\": \"%s\", \"name\": \"Tiny\", \"short_name\": \"tiny\", \"parameters\": 1, \"bits\": 16, "
             "\"architecture\": \"qwen3\", \"context\": 64, \"extra_eos\": [\".\"]}",
             argv[4]);
    OK(mlxe_catalog_add(mlxe_str(entry)));
    OK(mlxe_load(engine, &options, NULL, &model));
    CHECK(!stops(model));
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    puts("downloaded");
    return 0;
}
