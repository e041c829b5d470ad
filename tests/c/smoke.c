// The shortest useful program: load, a few tokens, free. Also the one that valgrind runs.
#include "check.h"

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    CHECK(mlxe_abi_version() == MLXE_ABI_VERSION);
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, argv[1]);
    mlxe_generate_options_t options = generate_options(4);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &generation));
    size_t tokens = 0;
    for (;;) {
        const mlxe_generation_event_t *event = NULL;
        OK(mlxe_generation_next(generation, &event));
        if (event == NULL) {
            break;
        }
        tokens += event->kind == MLXE_GENERATION_TOKEN;
    }
    mlxe_generation_stats_t stats = stats_room();
    OK(mlxe_generation_stats(generation, &stats));
    CHECK(tokens == 4 && stats.generated_tokens == 4 && stats.stop_reason == MLXE_STOP_LENGTH);
    mlxe_generation_free(generation);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    printf("MLXEngine %s, MLX %s\n", mlxe_version(), mlxe_mlx_version());
    return 0;
}
