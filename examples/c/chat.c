// Asks a model a question: chat MODEL_DIRECTORY QUESTION
//
//     cc -std=c11 chat.c $(pkg-config --cflags --libs mlx_engine) -o chat

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mlx_engine.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

/// Ends the program if a call failed: 130 after Ctrl-C, else 1.
static void require(mlxe_error_t *error) {
    if (error != NULL) {
        const int code = mlxe_error_code(error);
        fprintf(stderr, "chat: %s\n", mlxe_error_message(error));
        mlxe_error_free(error);
        exit(code == MLXE_ERROR_CANCELLED ? 130 : 1);
    }
}

/// A bar that moves in place on a terminal, a line for each phase elsewhere.
static int32_t on_load_event(void *user_data, const mlxe_load_event_t *event) {
    int *last_phase = user_data;
    const int percent = (int)(event->estimated_progress * 100);
    const double megabytes = (double)event->memory_bytes / 1e6;
    if (isatty(STDERR_FILENO)) {
        char bar[31];
        memset(bar, '.', 30);
        memset(bar, '#', (size_t)(percent * 30 / 100));
        bar[30] = 0;
        fprintf(stderr, "\r\x1b[K[%s] %3d%%  %.1f MB  %s", bar, percent, megabytes, event->description);
        if (event->is_terminal) {
            fputc('\n', stderr);
        }
    } else if (event->phase != *last_phase) {
        fprintf(stderr, "%3d%%  %.1f MB  %s\n", percent, megabytes, event->description);
    }
    *last_phase = event->phase;
    return interrupted ? MLXE_CANCEL : MLXE_CONTINUE;
}

static int32_t on_generation_event(void *user_data, const mlxe_generation_event_t *event) {
    (void)user_data;
    fwrite(event->text, 1, event->text_len, stdout);
    fflush(stdout);
    return interrupted ? MLXE_CANCEL : MLXE_CONTINUE;
}

/// The question as a JSON array with one message.
static char *messages_json(const char *question) {
    char *json = malloc(strlen(question) * 6 + 64);
    if (json == NULL) {
        abort();
    }
    char *end = json + sprintf(json, "[{\"role\": \"user\", \"content\": \"");
    for (const char *c = question; *c != 0; c++) {
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20) {
            end += sprintf(end, "\\u%04x", (unsigned)*c);
        } else {
            *end++ = *c;
        }
    }
    strcpy(end, "\"}]");
    return json;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL_DIRECTORY QUESTION\n", argv[0]);
        return 2;
    }
    signal(SIGINT, on_interrupt);

    mlxe_engine_t *engine = NULL;
    require(mlxe_engine_new(NULL, &engine));

    mlxe_load_options_t load;
    mlxe_load_options_init(&load, sizeof load);
    load.directory = mlxe_str(argv[1]);
    int last_phase = 0;
    const mlxe_load_callbacks_t progress = {
        .struct_size = sizeof progress, .user_data = &last_phase, .on_event = on_load_event};
    mlxe_model_t *model = NULL;
    require(mlxe_load(engine, NULL, &load, &progress, &model));

    // The question becomes the prompt that the model was trained on. What looks like a control token in it stays text.
    mlxe_tokenizer_t *tokenizer = NULL;
    mlxe_tokens_t *tokens = NULL;
    char *messages = messages_json(argv[2]);
    require(mlxe_model_tokenizer(model, &tokenizer));
    require(mlxe_tokenizer_encode_chat(tokenizer, mlxe_str(messages), NULL, &tokens));

    mlxe_generate_options_t options;
    mlxe_generate_options_init(&options, sizeof options);
    options.max_tokens = mlxe_int(512);
    options.temperature = mlxe_float(0.7);
    options.top_p = mlxe_float(0.9);
    const mlxe_generate_callbacks_t stream = {.struct_size = sizeof stream, .on_event = on_generation_event};
    mlxe_task_t *task = NULL;
    require(mlxe_generate_start(model, mlxe_tokens_data(tokens), mlxe_tokens_len(tokens), &options, &stream, &task));
    mlxe_generation_stats_t stats = {.struct_size = sizeof stats};
    require(mlxe_task_stats(task, &stats));

    printf("\n");
    fflush(stdout);
    fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s; answer: %zu tokens, %.1f tokens/s; peak memory %.1f MB%s\n",
            stats.prompt_tokens, stats.prompt_tokens_per_second, stats.generated_tokens,
            stats.generation_tokens_per_second, (double)stats.peak_memory_bytes / 1e6,
            stats.stop_reason == MLXE_STOP_CANCELLED ? "; cancelled" : "");

    // In any order.
    mlxe_task_free(task);
    mlxe_tokens_free(tokens);
    mlxe_tokenizer_free(tokenizer);
    mlxe_model_free(model);
    mlxe_engine_free(engine);
    free(messages);
    return stats.stop_reason == MLXE_STOP_CANCELLED ? 130 : 0;
}
