// Samplers of the caller's own: what they see, what they choose, how they fail, beside a generation without one.
#include "check.h"

enum { TOKENS = 20 };

typedef struct {
    size_t calls, vocabulary, last_history;
    uint32_t chosen[TOKENS];
    /// At this call it returns something else, counted from 1; 0 for never.
    size_t fail_at;
    /// What it chooses; the most likely one if UINT32_MAX.
    uint32_t always;
    int dropped;
} own_t;

static int32_t sample(void *user_data, const float *logits, size_t logits_len, const uint32_t *history,
                      size_t history_len, uint32_t *out_token) {
    own_t *own = user_data;
    CHECK(own->dropped == 0 && history_len == PROMPT_LEN + own->calls && own->calls < TOKENS);
    CHECK(memcmp(history, PROMPT, sizeof PROMPT) == 0);
    for (size_t i = 0; i < own->calls; i++) {
        CHECK(history[PROMPT_LEN + i] == own->chosen[i]);
    }
    uint32_t token = 0;
    for (uint32_t i = 1; i < logits_len; i++) {
        token = logits[i] > logits[token] ? i : token;
    }
    token = own->always == UINT32_MAX ? token : own->always;
    own->vocabulary = logits_len;
    own->chosen[own->calls++] = token;
    *out_token = token;
    return own->calls == own->fail_at ? 7 : MLXE_OK;
}

static void on_drop(void *user_data) {
    own_t *own = user_data;
    own->dropped++;
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, argv[1]);
    mlxe_generate_options_t options = generate_options(TOKENS);
    options.logprobs = mlxe_int(1);

    // All at once: without a sampler, with one that takes the most likely token, and with ones that fail.
    own_t owns[4] = {{.always = UINT32_MAX}, {.always = 3, .fail_at = 5}, {.always = UINT32_MAX - 1}, {.always = 3}};
    mlxe_generation_t *plain = NULL, *own = NULL;
    mlxe_task_t *tasks[3] = {NULL, NULL, NULL};
    OK(mlxe_generation_new(model, PROMPT, PROMPT_LEN, &options, &plain));
    mlxe_sampler_t sampler = {sizeof sampler, &owns[0], sample, on_drop};
    OK(mlxe_generation_guided_new(model, PROMPT, PROMPT_LEN, &options, &sampler, &own));
    for (int i = 0; i < 3; i++) {
        sampler.user_data = &owns[i + 1];
        OK(mlxe_generate_guided_start(model, PROMPT, PROMPT_LEN, &options, &sampler, NULL, &tasks[i]));
    }
    for (size_t i = 0;;) {
        const mlxe_generation_event_t *a = NULL, *b = NULL;
        OK(mlxe_generation_next(plain, &a));
        OK(mlxe_generation_next(own, &b));
        CHECK((a == NULL) == (b == NULL));
        if (a == NULL) {
            CHECK(i == TOKENS);
            break;
        }
        CHECK(a->kind == b->kind);
        if (a->kind == MLXE_GENERATION_TOKEN) {
            CHECK(a->token == b->token && b->token == owns[0].chosen[i++] && b->logprob.given && b->logprob.value < 0);
        }
    }
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_wait(tasks[0]));
    CHECK(owns[1].calls == 5);
    mlxe_error_t *error = mlxe_task_wait(tasks[1]);
    CHECK(mlxe_error_code(error) == MLXE_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(mlxe_error_message(error), "4294967294") != NULL && owns[2].calls == 1);
    mlxe_error_free(error);
    OK(mlxe_task_wait(tasks[2]));
    CHECK(owns[3].calls == TOKENS && owns[3].vocabulary > 3);
    mlxe_generation_free(plain);
    mlxe_generation_free(own);
    for (int i = 0; i < 3; i++) {
        mlxe_task_free(tasks[i]);
    }

    // Refused at once, and dropped all the same.
    own_t refused = {0};
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;
    sampler.user_data = &refused;
    FAILS(bad, mlxe_generate_guided_start(NULL, PROMPT, PROMPT_LEN, &options, &sampler, NULL, NULL));
    FAILS(bad, mlxe_generate_guided_start(model, NULL, PROMPT_LEN, &options, &sampler, NULL, NULL));
    FAILS(bad, mlxe_generation_guided_new(model, PROMPT, PROMPT_LEN, &options, &sampler, NULL));
    CHECK(refused.dropped == 3);
    sampler.sample = NULL;
    FAILS(bad, mlxe_generate_guided_start(model, PROMPT, PROMPT_LEN, &options, &sampler, NULL, NULL));
    CHECK(refused.dropped == 4 && refused.calls == 0);
    FAILS(bad, mlxe_generate_guided_start(model, PROMPT, PROMPT_LEN, &options, NULL, NULL, NULL));
    sampler.struct_size = 8;
    FAILS(bad, mlxe_generate_guided_start(model, PROMPT, PROMPT_LEN, &options, &sampler, NULL, NULL));
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    for (int i = 0; i < 4; i++) {
        CHECK(owns[i].dropped == 1);
    }
    return 0;
}
