// Callbacks that count, and that fail the program where the contract is broken.
#ifndef WATCH_H
#define WATCH_H

#include <stdatomic.h>

#include "check.h"

enum { MAX_TOKENS_SEEN = 1024 };

typedef struct {
    atomic_int events, done, drop, code;
    /// Cancel at this event, counted from 1; 0 for never.
    int cancel_at;
    /// Whether that came in time, before a last event.
    bool cancelled;
    /// Loads: progress so far, last phase, terminal events, the model.
    double progress;
    int phase, terminal;
    /// Loads that download: events of weights, and events that tell of another try.
    int downloads, retries;
    mlxe_model_t *model;
    /// Generations.
    mlxe_generation_stats_t stats;
    size_t tokens, prefilled;
    uint32_t ids[MAX_TOKENS_SEEN];
} watch_t;

static inline int32_t watch_event(watch_t *w) {
    CHECK(w->done == 0 && w->drop == 0);
    int n = ++w->events;
    return n == w->cancel_at ? MLXE_CANCEL : MLXE_CONTINUE;
}

static inline int32_t watch_load(void *user, const mlxe_load_event_t *e) {
    watch_t *w = user;
    CHECK(e->struct_size == sizeof *e);
    CHECK(w->terminal == 0);
    CHECK(e->phase >= MLXE_PHASE_READING_CONFIG && e->phase <= MLXE_PHASE_CANCELLED);
    CHECK(e->phase >= w->phase);
    CHECK(strlen(e->phase_name) > 0 && strlen(e->description) > 0 && strlen(e->checkpoint_stage) > 0);
    CHECK(e->is_terminal == (e->phase >= MLXE_PHASE_READY));
    CHECK(e->elapsed_seconds >= 0);
    if (e->phase >= MLXE_PHASE_FAILED) {
        const bool cancelled = e->phase == MLXE_PHASE_CANCELLED;
        CHECK(e->estimated_progress == 0 && e->error_code != MLXE_OK && strlen(e->error_message) > 0);
        CHECK(strlen(e->failed_phase) > 0 && strcmp(e->phase_name, cancelled ? "cancelled" : "failed") == 0);
        CHECK(strlen(e->error_summary) > 0 && cancelled == (e->error_code == MLXE_ERROR_CANCELLED));
    } else {
        CHECK(e->estimated_progress >= w->progress && e->estimated_progress <= 1);
        CHECK(e->error_code == MLXE_OK && e->error_message == NULL && e->error_summary == NULL && e->failed_phase == NULL);
        CHECK(e->checkpoint >= 1 && e->checkpoint <= 9);
        w->progress = e->estimated_progress;
    }
    const mlxe_progress_t *p = e->progress;
    const bool reads = e->phase == MLXE_PHASE_LOADING_WEIGHTS, downloads = e->phase == MLXE_PHASE_DOWNLOADING_WEIGHTS;
    CHECK((p != NULL) == (reads || downloads) || e->phase == MLXE_PHASE_DOWNLOADING_CONFIG);
    if (p != NULL) {
        CHECK(p->struct_size == sizeof *p && p->file != NULL && strlen(p->stage_name) > 0);
        CHECK(p->bytes_done <= p->bytes_total && p->file_bytes_done <= p->file_bytes_total && p->bytes_per_second >= 0);
        CHECK(p->file_index <= p->total_files && (p->file_index > 0) == (strlen(p->file) > 0));
        CHECK((p->retry_attempt == 0) == (p->retry_reason == NULL) && p->retry_attempt <= p->retry_limit);
        w->retries += p->retry_attempt > 0;
    }
    if (reads || downloads) {
        CHECK(p->stage == (reads ? MLXE_STAGE_READING : MLXE_STAGE_WEIGHTS));
        CHECK(p->file_index >= 1 && p->bytes_total > 0);
        w->downloads += downloads;
    }
    w->phase = e->phase;
    w->terminal += e->is_terminal;
    const int32_t answer = watch_event(w);
    w->cancelled |= answer == MLXE_CANCEL && !e->is_terminal;
    return answer;
}

static inline void watch_loaded(void *user, mlxe_model_t *model, const mlxe_error_t *error) {
    watch_t *w = user;
    CHECK(w->drop == 0 && (model == NULL) != (error == NULL));
    w->model = model;
    w->code = mlxe_error_code(error);
    CHECK(++w->done == 1);
}

static inline int32_t watch_generation(void *user, const mlxe_generation_event_t *e) {
    watch_t *w = user;
    CHECK(e->struct_size == sizeof *e);
    CHECK(e->text != NULL && e->text[e->text_len] == 0);
    if (e->kind == MLXE_GENERATION_PREFILL) {
        CHECK(w->tokens == 0 && e->text_len == 0);
        CHECK(e->prompt_processed > w->prefilled && e->prompt_processed <= e->prompt_total);
        w->prefilled = e->prompt_processed;
    } else if (e->kind == MLXE_GENERATION_TOKEN) {
        if (w->tokens < MAX_TOKENS_SEEN) {
            w->ids[w->tokens] = e->token;
        }
        w->tokens++;
    }
    return watch_event(w);
}

static inline void watch_generated(void *user, const mlxe_generation_stats_t *stats, const mlxe_error_t *error) {
    watch_t *w = user;
    CHECK(w->drop == 0 && (stats == NULL) != (error == NULL));
    if (stats != NULL) {
        CHECK(stats->struct_size == sizeof *stats);
        w->stats = *stats;
    }
    w->code = mlxe_error_code(error);
    CHECK(++w->done == 1);
}

static inline void watch_drop(void *user) {
    watch_t *w = user;
    CHECK(++w->drop == 1);
}

static inline mlxe_load_callbacks_t load_callbacks(watch_t *w) {
    memset(w, 0, sizeof *w);
    return (mlxe_load_callbacks_t){sizeof(mlxe_load_callbacks_t), w, watch_load, watch_loaded, watch_drop};
}

static inline mlxe_generate_callbacks_t generate_callbacks(watch_t *w) {
    memset(w, 0, sizeof *w);
    return (mlxe_generate_callbacks_t){sizeof(mlxe_generate_callbacks_t), w, watch_generation, watch_generated,
                                       watch_drop};
}

#endif
