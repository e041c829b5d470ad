// Many threads, many cancels, many loads: `stress MODEL [ROUNDS]`.
#include <pthread.h>
#include <unistd.h>

#include "watch.h"

enum { THREADS = 8 };

static mlxe_engine_t *engine;
static mlxe_model_t *model;
static const char *directory;
static int rounds = 40;
static atomic_int finished;

static unsigned next_random(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void load_and_cancel(unsigned *random) {
    const mlxe_load_options_t options = load_options(directory);
    watch_t w;
    mlxe_load_callbacks_t callbacks = load_callbacks(&w);
    mlxe_task_t *task = NULL;
    OK(mlxe_load_start(engine, NULL, &options, &callbacks, &task));
    usleep(next_random(random) % 4000);
    mlxe_task_cancel(task);
    mlxe_error_t *error = mlxe_task_wait(task);
    const int code = mlxe_error_code(error);
    CHECK(code == MLXE_OK || code == MLXE_ERROR_CANCELLED);
    CHECK(w.done == 1 && w.drop == 1 && w.terminal == 1 && w.code == code);
    mlxe_error_free(error);
    mlxe_task_free(task);
    mlxe_model_free(w.model);
}

static void generate_and_cancel(unsigned *random) {
    mlxe_generate_options_t options = generate_options(1 + next_random(random) % 20);
    options.temperature = mlxe_float(next_random(random) % 2);
    watch_t w;
    mlxe_generate_callbacks_t callbacks = generate_callbacks(&w);
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options, &callbacks, &task));
    usleep(next_random(random) % 3000);
    mlxe_task_cancel(task);
    bool done = false;
    while (!done) {
        OK(mlxe_task_wait_for(task, 0.002, &done));
    }
    CHECK(w.done == 1 && w.drop == 1 && w.code == MLXE_OK && w.stats.generated_tokens == w.tokens);
    mlxe_task_free(task);
}

static void iterate(unsigned *random) {
    mlxe_model_t *mine = NULL;
    OK(mlxe_model_clone(model, &mine));
    mlxe_generate_options_t options = generate_options(6);
    mlxe_generation_t *generation = NULL;
    OK(mlxe_generation_new(mine, PROMPT, PROMPT_LEN, &options, &generation));
    mlxe_model_free(mine);
    for (unsigned n = next_random(random) % 10; n > 0; n--) {
        const mlxe_generation_event_t *event = NULL;
        OK(mlxe_generation_next(generation, &event));
        if (event == NULL) {
            break;
        }
    }
    mlxe_generation_free(generation);
}

static void look_around(void) {
    mlxe_memory_t memory = {.struct_size = sizeof memory};
    OK(mlxe_memory_get(&memory));
    mlxe_memory_reset_peak();
    mlxe_memory_clear_cache();
    mlxe_string_t *info = NULL;
    OK(mlxe_model_info_json(model, &info));
    CHECK(mlxe_string_len(info) > 0);
    mlxe_string_free(info);
    mlxe_tokenizer_t *tokenizer = NULL;
    mlxe_error_t *error = mlxe_tokenizer_open(mlxe_str("/nonexistent"), &tokenizer);
    CHECK(mlxe_error_code(error) != MLXE_OK);
    mlxe_error_free(error);
}

static void *work(void *number) {
    unsigned random = 12345u * (1 + (unsigned)(size_t)number);
    for (int i = 0; i < rounds; i++) {
        switch (next_random(&random) % 4) {
            case 0: load_and_cancel(&random); break;
            case 1: iterate(&random); break;
            case 2: look_around(); break;
            default: generate_and_cancel(&random); break;
        }
    }
    finished++;
    return NULL;
}

/// MLX's counter once it has fallen to `at_most`; models are freed on the engine's thread, a little later.
static size_t settled(size_t at_most) {
    mlxe_memory_t memory = {.struct_size = sizeof memory};
    for (int i = 0; i < 5000; i++) {
        OK(mlxe_memory_get(&memory));
        if (memory.active <= at_most && memory.cache == 0) {
            break;
        }
        usleep(1000);
    }
    return memory.active;
}

static long resident_pages(void) {
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        CHECK(fscanf(file, "%ld %ld", &size, &resident) == 2);
        fclose(file);
    }
    return resident;
}

/// A model that is unloaded leaves nothing behind.
static void cycles(int count, bool check_resident) {
    long early = 0;
    for (int i = 0; i < count; i++) {
        mlxe_engine_t *e = i % 2 ? new_engine() : NULL;
        mlxe_model_t *m = load_model(e ? e : engine, directory);
        mlxe_generate_options_t options = generate_options(2);
        mlxe_task_t *task = NULL;
        OK(mlxe_generate_start(m, PROMPT, PROMPT_LEN, &options, NULL, &task));
        OK(mlxe_task_wait(task));
        mlxe_task_free(task);
        mlxe_engine_free(e);
        mlxe_model_free(m);
        CHECK(settled(0) == 0);
        if (i == count / 5) {
            early = resident_pages();
        }
    }
    const long grown = (resident_pages() - early) * (sysconf(_SC_PAGESIZE) / 1024);
    printf("%d cycles: %ld KiB more resident\n", count, grown);
    // The checkpoint is some 300 KiB: one that stays each time would show.
    CHECK(!check_resident || grown < 4096);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    directory = argv[1];
    rounds = argc > 2 ? atoi(argv[2]) : rounds;
    engine = new_engine();
    cycles(rounds < 50 ? rounds + 1 : 50, argc <= 3);
    model = load_model(engine, directory);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(finished == THREADS);
    mlxe_model_free(model);
    CHECK(settled(0) == 0);
    mlxe_engine_free(engine);
    return 0;
}
