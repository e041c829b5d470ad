// What the test programs share. Failures print where and why, and end the program.
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mlx_engine.h"

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
/// The call succeeds.
#define OK(call) check_code((call), MLXE_OK, #call, __FILE__, __LINE__)
/// The call fails with this code.
#define FAILS(code, call) check_code((call), (code), #call, __FILE__, __LINE__)

/// A prompt that all test models know.
static const uint32_t PROMPT[] = {1, 5, 9, 14, 3, 7, 2, 11};
enum { PROMPT_LEN = sizeof PROMPT / sizeof PROMPT[0] };

static inline void check(int condition, const char *text, const char *file, int line) {
    if (!condition) {
        fprintf(stderr, "%s:%d: %s does not hold\n", file, line, text);
        exit(1);
    }
}

static inline void check_code(mlxe_error_t *error, int32_t code, const char *text, const char *file, int line) {
    if (mlxe_error_code(error) != code) {
        fprintf(stderr, "%s:%d: %s\n  gives code %d, not %d: %s\n", file, line, text, (int)mlxe_error_code(error),
                (int)code, mlxe_error_message(error));
        exit(1);
    }
    if (error != NULL && strlen(mlxe_error_message(error)) == 0) {
        fprintf(stderr, "%s:%d: %s\n  fails without a message\n", file, line, text);
        exit(1);
    }
    mlxe_error_free(error);
}

/// A separate hub. `token` may be NULL.
static inline mlxe_hub_t *open_hub(const char *endpoint, const char *directory, const char *token, bool offline) {
    mlxe_hub_options_t options;
    mlxe_hub_options_init(&options, sizeof options);
    options.directory = mlxe_str(directory);
    options.endpoint = mlxe_str(endpoint);
    options.token = mlxe_str(token);
    options.offline = offline;
    // The test sees that nothing came from there.
    options.disable_xet = true;
    mlxe_hub_t *hub = NULL;
    OK(mlxe_hub_new(&options, &hub));
    CHECK(strcmp(mlxe_hub_directory(hub), directory) == 0);
    return hub;
}

static inline mlxe_load_options_t load_options(const char *directory) {
    mlxe_load_options_t options;
    mlxe_load_options_init(&options, sizeof options);
    options.directory = mlxe_str(directory);
    options.dtype = MLXE_DTYPE_F32;
    options.without_tokenizer = true;
    return options;
}

static inline mlxe_generate_options_t generate_options(uint32_t max_tokens) {
    mlxe_generate_options_t options;
    mlxe_generate_options_init(&options, sizeof options);
    options.max_tokens = mlxe_int(max_tokens);
    options.ignore_eos = true;
    return options;
}

/// Without kept prefixes: tests count what a prompt takes.
static inline mlxe_engine_t *new_engine(void) {
    mlxe_engine_options_t options;
    mlxe_engine_t *engine = NULL;
    mlxe_engine_options_init(&options, sizeof options);
    options.device = MLXE_DEVICE_CPU;
    options.prefix_bytes = mlxe_u64(0);
    OK(mlxe_engine_new(&options, &engine));
    return engine;
}

static inline mlxe_model_t *load_model(const mlxe_engine_t *engine, const char *directory) {
    mlxe_load_options_t options = load_options(directory);
    mlxe_model_t *model = NULL;
    OK(mlxe_load(engine, NULL, &options, NULL, &model));
    return model;
}

static inline mlxe_generation_stats_t stats_room(void) {
    mlxe_generation_stats_t stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    return stats;
}

#endif
