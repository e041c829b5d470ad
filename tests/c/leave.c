// The process ends while engines work: `leave MODEL load|generate|callback|freed`.
#include <unistd.h>

#include "check.h"

static int32_t leave(void *user, const mlxe_generation_event_t *event) {
    (void)user;
    if (event->kind == MLXE_GENERATION_TOKEN) {
        exit(0);
    }
    return MLXE_CONTINUE;
}

int main(int argc, char **argv) {
    CHECK(argc >= 3);
    // Three engines, so that some are busy whatever the scheduler does.
    for (int i = 0; i < 3; i++) {
        mlxe_engine_t *engine = new_engine();
        mlxe_model_t *model = load_model(engine, argv[1]);
        const mlxe_load_options_t load = load_options(argv[1]);
        const mlxe_generate_options_t endless = generate_options(400);
        const mlxe_generate_callbacks_t callbacks = {sizeof callbacks, NULL, leave, NULL, NULL};
        if (strcmp(argv[2], "load") == 0) {
            OK(mlxe_load_start(engine, NULL, &load, NULL, NULL));
        } else if (strcmp(argv[2], "generate") == 0) {
            OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, NULL, NULL));
        } else if (strcmp(argv[2], "callback") == 0) {
            OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, i == 2 ? &callbacks : NULL, NULL));
        }
        mlxe_model_free(model);
        mlxe_engine_free(engine);
    }
    if (strcmp(argv[2], "callback") == 0) {
        pause();
    }
    return 0;
}
