// Scores and logits: what callbacks and tasks return, and that they agree with each other.
#include <math.h>

#include "check.h"

typedef struct {
    size_t processed, total;
    size_t len;
    float first;
    int done, dropped;
    int32_t code, answer;
} heard_t;

static int32_t on_event(void *user_data, const mlxe_score_event_t *event) {
    heard_t *heard = user_data;
    CHECK(event->struct_size == sizeof *event && event->processed > heard->processed);
    heard->processed = event->processed;
    heard->total = event->total;
    return heard->answer;
}

static void on_scores(void *user_data, const mlxe_scores_t *scores, const mlxe_error_t *error) {
    heard_t *heard = user_data;
    CHECK((scores == NULL) == (error != NULL));
    heard->done++;
    heard->code = mlxe_error_code(error);
    heard->len = mlxe_scores_len(scores);
    heard->first = scores == NULL ? 0 : mlxe_scores_logprobs(scores)[0];
}

static void on_logits(void *user_data, const mlxe_logits_t *logits, const mlxe_error_t *error) {
    heard_t *heard = user_data;
    CHECK((logits == NULL) == (error != NULL));
    heard->done++;
    heard->len = mlxe_logits_rows(logits);
    heard->first = mlxe_logits_data(logits)[0];
}

static void on_drop(void *user_data) {
    heard_t *heard = user_data;
    heard->dropped++;
}

/// The log-probability of a token by a row of logits.
static double logprob(const float *row, size_t count, uint32_t token) {
    double mass = 0;
    for (size_t i = 0; i < count; i++) {
        mass += exp((double)row[i]);
    }
    return (double)row[token] - log(mass);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, argv[1]);
    enum { BEFORE = 3, MORE = PROMPT_LEN - BEFORE };

    heard_t heard = {0};
    const mlxe_score_callbacks_t callbacks = {sizeof callbacks, &heard, on_event, on_scores, on_drop};
    mlxe_task_t *task = NULL;
    OK(mlxe_score_start(model, PROMPT, BEFORE, PROMPT + BEFORE, MORE, &callbacks, &task));
    CHECK(mlxe_task_kind(task) == MLXE_TASK_SCORE);
    mlxe_scores_t *scores = NULL;
    OK(mlxe_task_scores(task, &scores));
    CHECK(heard.done == 1 && heard.dropped == 1 && heard.code == MLXE_OK && heard.len == MORE);
    CHECK(heard.processed == PROMPT_LEN - 1 && heard.total == PROMPT_LEN - 1);
    CHECK(mlxe_scores_len(scores) == MORE && mlxe_scores_logprobs(scores)[0] == heard.first);
    mlxe_logits_t *logits = NULL;
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_logits(task, &logits));
    FAILS(MLXE_ERROR_INVALID_ARGUMENT, mlxe_task_scores(task, NULL));
    mlxe_task_free(task);

    heard_t rows = {0};
    const mlxe_logits_callbacks_t more = {sizeof more, &rows, on_event, on_logits, on_drop};
    OK(mlxe_logits_start(model, PROMPT, PROMPT_LEN, NULL, 0, &more, &task));
    CHECK(mlxe_task_kind(task) == MLXE_TASK_LOGITS);
    OK(mlxe_task_logits(task, &logits));
    CHECK(rows.done == 1 && rows.dropped == 1 && rows.len == PROMPT_LEN && rows.total == PROMPT_LEN);
    CHECK(mlxe_logits_rows(logits) == PROMPT_LEN && mlxe_logits_data(logits)[0] == rows.first);
    const size_t columns = mlxe_logits_columns(logits);
    double total = 0;
    for (size_t i = 0; i < MORE; i++) {
        const float *row = mlxe_logits_data(logits) + (BEFORE - 1 + i) * columns;
        const double want = logprob(row, columns, PROMPT[BEFORE + i]);
        CHECK(fabs(want - (double)mlxe_scores_logprobs(scores)[i]) < 1e-4);
        const uint32_t best = mlxe_scores_most_likely(scores)[i];
        for (size_t token = 0; token < columns; token++) {
            CHECK(row[token] <= row[best]);
        }
        total += want;
    }
    CHECK(fabs(total - mlxe_scores_total(scores)) < 1e-3);
    CHECK(fabs(exp(-total / MORE) / mlxe_scores_perplexity(scores) - 1) < 1e-3);
    mlxe_task_free(task);

    // Some positions only.
    const size_t positions[] = {1, 6};
    mlxe_logits_t *some = NULL;
    OK(mlxe_logits_start(model, PROMPT, PROMPT_LEN, positions, 2, NULL, &task));
    OK(mlxe_task_logits(task, &some));
    CHECK(mlxe_logits_rows(some) == 2 && mlxe_logits_columns(some) == columns);
    for (size_t i = 0; i < 2 * columns; i++) {
        const float *row = mlxe_logits_data(logits) + positions[i / columns] * columns;
        CHECK(fabsf(mlxe_logits_data(some)[i] - row[i % columns]) < 1e-3f);
    }
    mlxe_task_free(task);
    mlxe_logits_free(some);
    mlxe_logits_free(logits);
    mlxe_scores_free(scores);

    // A cancel, and what is refused: nothing but drop is called.
    heard_t cancelled = {.answer = MLXE_CANCEL};
    mlxe_score_callbacks_t other = callbacks;
    other.user_data = &cancelled;
    uint32_t text[1000];
    for (size_t i = 0; i < 1000; i++) {
        text[i] = PROMPT[i % PROMPT_LEN];
    }
    OK(mlxe_score_start(model, text, 1, text, 400, &other, &task));
    FAILS(MLXE_ERROR_CANCELLED, mlxe_task_wait(task));
    CHECK(cancelled.done == 1 && cancelled.code == MLXE_ERROR_CANCELLED && cancelled.len == 0);
    mlxe_task_free(task);
    heard_t refused = {0};
    other.user_data = &refused;
    const int32_t bad = MLXE_ERROR_INVALID_ARGUMENT;
    const uint32_t outside = UINT32_MAX;
    FAILS(bad, mlxe_score_start(NULL, PROMPT, 1, PROMPT, 1, &other, NULL));
    FAILS(bad, mlxe_score_start(model, NULL, 1, PROMPT, 1, &other, NULL));
    FAILS(bad, mlxe_score_start(model, PROMPT, 0, PROMPT, 1, &other, NULL));
    FAILS(bad, mlxe_score_start(model, PROMPT, 1, PROMPT, 0, &other, NULL));
    FAILS(bad, mlxe_score_start(model, PROMPT, 1, &outside, 1, &other, NULL));
    CHECK(refused.done == 0 && refused.dropped == 5);
    const size_t beyond = PROMPT_LEN;
    FAILS(bad, mlxe_logits_start(model, PROMPT, PROMPT_LEN, &beyond, 1, NULL, NULL));
    FAILS(bad, mlxe_logits_start(model, PROMPT, PROMPT_LEN, NULL, 2, NULL, NULL));
    FAILS(bad, mlxe_logits_start(NULL, PROMPT, PROMPT_LEN, NULL, 0, NULL, NULL));
    CHECK(mlxe_scores_len(NULL) == 0 && mlxe_scores_logprobs(NULL) == NULL && mlxe_scores_most_likely(NULL) == NULL);
    CHECK(mlxe_scores_total(NULL) == 0 && mlxe_scores_perplexity(NULL) == 0 && mlxe_logits_data(NULL) == NULL);
    mlxe_scores_free(NULL);
    mlxe_logits_free(NULL);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    return 0;
}
