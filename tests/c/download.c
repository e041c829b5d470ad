// Loads a model that is not there yet, from a server that fails at first. Arguments: endpoint, id, cache folder.
#include "watch.h"

int main(int argc, char **argv) {
    CHECK(argc == 4);
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
    mlxe_engine_free(engine);
    puts("downloaded");
    return 0;
}
