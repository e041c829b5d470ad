// What a host does with its process: `process MODEL signals|fork|fork-first|exit-in-callback`.
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int32_t ignore(void *user, const mlxe_generation_event_t *event) {
    (void)user;
    (void)event;
    return MLXE_CONTINUE;
}

static volatile int in_callback = 0;

/// A host whose callbacks wait for its main thread.
static int32_t stay(void *user, const mlxe_generation_event_t *event) {
    (void)user;
    (void)event;
    in_callback = 1;
    for (;;) {
        pause();
    }
    return MLXE_CONTINUE;
}

static void generate(const mlxe_model_t *model) {
    const mlxe_generate_options_t options = generate_options(8);
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &options, NULL, &task));
    OK(mlxe_task_wait(task));
    mlxe_task_free(task);
}

static void whole_life(const char *directory) {
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, directory);
    generate(model);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
}

/// The child ends by itself, soon, with 0.
static void ends_well(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/// Threads that were there before the host blocked a signal must not take it.
static void signals(const char *directory) {
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, directory);
    generate(model);
    const mlxe_generate_options_t endless = generate_options(400);
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, NULL, &task));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        const int sent = i % 2 == 0 ? SIGINT : SIGTERM;
        const struct timespec patience = {5, 0};
        CHECK(kill(getpid(), sent) == 0);
        CHECK(sigtimedwait(&set, NULL, &patience) == sent);
    }
    mlxe_task_cancel(task);
    mlxe_task_free(task);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
}

static void forked(const char *directory) {
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, directory);
    generate(model);
    const mlxe_generate_options_t endless = generate_options(400);
    const mlxe_generate_callbacks_t callbacks = {sizeof callbacks, NULL, ignore, NULL, NULL};
    mlxe_task_t *task = NULL;
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, &callbacks, &task));
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        // Whatever would wait for ever ends the child with a signal.
        alarm(5);
        mlxe_engine_options_t options;
        mlxe_engine_options_init(&options, sizeof options);
        mlxe_engine_t *other = NULL;
        mlxe_task_t *none = NULL;
        bool done = false;
        FAILS(MLXE_ERROR_FORKED, mlxe_engine_new(&options, &other));
        FAILS(MLXE_ERROR_FORKED, mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, NULL, &none));
        FAILS(MLXE_ERROR_FORKED, mlxe_task_wait(task));
        FAILS(MLXE_ERROR_FORKED, mlxe_task_wait_for(task, 1.0, &done));
        const mlxe_load_options_t load = load_options(directory);
        mlxe_model_t *second = NULL;
        FAILS(MLXE_ERROR_FORKED, mlxe_load(engine, NULL, &load, NULL, &second));
        mlxe_task_cancel(task);
        mlxe_task_free(task);
        mlxe_model_free(model);
        mlxe_engine_free(engine);
        exit(0);
    }
    ends_well(child);
    mlxe_task_cancel(task);
    mlxe_task_free(task);
    generate(model);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
}

/// A daemon forks before it makes its engine, and so may its parent afterwards.
static void forked_first(const char *directory) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        whole_life(directory);
        exit(0);
    }
    ends_well(child);
    whole_life(directory);
}

static void exit_in_callback(const char *directory) {
    mlxe_engine_t *engine = new_engine();
    mlxe_model_t *model = load_model(engine, directory);
    const mlxe_generate_options_t endless = generate_options(400);
    const mlxe_generate_callbacks_t callbacks = {sizeof callbacks, NULL, stay, NULL, NULL};
    OK(mlxe_generate_start(model, PROMPT, PROMPT_LEN, &endless, &callbacks, NULL));
    while (!in_callback) {
        usleep(1000);
    }
    // Well below the ten seconds that steps under way are given.
    alarm(5);
    exit(0);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *what = argv[2];
    if (strcmp(what, "signals") == 0) {
        signals(argv[1]);
    } else if (strcmp(what, "fork") == 0) {
        forked(argv[1]);
    } else if (strcmp(what, "fork-first") == 0) {
        forked_first(argv[1]);
    } else {
        exit_in_callback(argv[1]);
    }
    return 0;
}
