// Asks a model a question: chat MODEL_DIRECTORY QUESTION
//
//     c++ -std=c++17 chat.cpp $(pkg-config --cflags --libs mlx_engine) -o chat

#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <unistd.h>

#include <mlx_engine.h>

namespace {

/// Calls the function that frees a handle.
template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *handle) const { Free(handle); }
};
using Engine = std::unique_ptr<mlxe_engine_t, Deleter<mlxe_engine_free>>;
using Error = std::unique_ptr<mlxe_error_t, Deleter<mlxe_error_free>>;
using Generation = std::unique_ptr<mlxe_generation_t, Deleter<mlxe_generation_free>>;
using Model = std::unique_ptr<mlxe_model_t, Deleter<mlxe_model_free>>;
using String = std::unique_ptr<mlxe_string_t, Deleter<mlxe_string_free>>;
using Tokenizer = std::unique_ptr<mlxe_tokenizer_t, Deleter<mlxe_tokenizer_free>>;
using Tokens = std::unique_ptr<mlxe_tokens_t, Deleter<mlxe_tokens_free>>;

struct Failure : std::runtime_error {
    explicit Failure(const mlxe_error_t *error)
        : std::runtime_error(mlxe_error_message(error)), code(mlxe_error_code(error)) {}
    std::int32_t code;
};

void require(mlxe_error_t *error) {
    if (const Error owned{error}) {
        throw Failure(error);
    }
}

/// Calls a function of the library whose last argument receives a handle.
template <class Handle, class Function, class... Arguments>
Handle make(Function function, Arguments... arguments) {
    typename Handle::pointer handle = nullptr;
    require(function(arguments..., &handle));
    return Handle(handle);
}

volatile std::sig_atomic_t interrupted = 0;

/// A bar that moves in place on a terminal, a line for each phase elsewhere.
std::int32_t on_load_event(void *user_data, const mlxe_load_event_t *event) {
    auto &last_phase = *static_cast<std::int32_t *>(user_data);
    const int percent = static_cast<int>(event->estimated_progress * 100);
    const double megabytes = static_cast<double>(event->memory_bytes) / 1e6;
    if (isatty(STDERR_FILENO)) {
        std::string bar(30, '.');
        bar.replace(0, static_cast<std::size_t>(percent * 30 / 100), percent * 30 / 100, '#');
        std::fprintf(stderr, "\r\x1b[K[%s] %3d%%  %.1f MB  %s%s", bar.c_str(), percent, megabytes, event->description,
                     event->is_terminal ? "\n" : "");
    } else if (event->phase != last_phase) {
        std::fprintf(stderr, "%3d%%  %.1f MB  %s\n", percent, megabytes, event->description);
    }
    last_phase = event->phase;
    return interrupted ? MLXE_CANCEL : MLXE_CONTINUE;
}

std::string messages_json(std::string_view question) {
    std::string json = R"([{"role": "user", "content": ")";
    for (const char c : question) {
        if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c) & 0xff);
            json += escaped;
        } else {
            json += c;
        }
    }
    return json + R"("}])";
}

int chat(const char *directory, const char *question) {
    const auto engine = make<Engine>(mlxe_engine_new, nullptr);
    mlxe_load_options_t load;
    mlxe_load_options_init(&load, sizeof load);
    load.directory = mlxe_str(directory);
    std::int32_t last_phase = 0;
    const mlxe_load_callbacks_t progress{sizeof progress, &last_phase, on_load_event, nullptr, nullptr};
    const auto model = make<Model>(mlxe_load, engine.get(), nullptr, &load, &progress);

    // The question becomes the prompt that the model was trained on, and that becomes tokens.
    const auto tokenizer = make<Tokenizer>(mlxe_model_tokenizer, model.get());
    const auto messages = messages_json(question);
    const auto prompt =
        make<String>(mlxe_tokenizer_apply_chat_template, tokenizer.get(), mlxe_str(messages.c_str()), nullptr);
    const mlxe_str_t text{mlxe_string_data(prompt.get()), mlxe_string_len(prompt.get())};
    const auto tokens = make<Tokens>(mlxe_tokenizer_encode, tokenizer.get(), text, false);

    mlxe_generate_options_t options;
    mlxe_generate_options_init(&options, sizeof options);
    options.max_tokens = mlxe_int(512);
    options.temperature = mlxe_float(0.7);
    options.top_p = mlxe_float(0.9);
    const auto generation = make<Generation>(mlxe_generation_new, model.get(), mlxe_tokens_data(tokens.get()),
                                             mlxe_tokens_len(tokens.get()), &options);
    const mlxe_generation_event_t *event = nullptr;
    while (require(mlxe_generation_next(generation.get(), &event)), event != nullptr) {
        std::cout << std::string_view(event->text, event->text_len) << std::flush;
        if (interrupted) {
            mlxe_generation_cancel(generation.get());
        }
    }
    mlxe_generation_stats_t stats{};
    stats.struct_size = sizeof stats;
    require(mlxe_generation_stats(generation.get(), &stats));
    std::cout << '\n';
    std::fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s; answer: %zu tokens, %.1f tokens/s; peak memory %.1f MB\n",
                 stats.prompt_tokens, stats.prompt_tokens_per_second, stats.generated_tokens,
                 stats.generation_tokens_per_second, static_cast<double>(stats.peak_memory_bytes) / 1e6);
    return stats.stop_reason == MLXE_STOP_CANCELLED ? 130 : 0;
}

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " MODEL_DIRECTORY QUESTION\n";
        return 2;
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    return chat(argv[1], argv[2]);
} catch (const Failure &failure) {
    std::cerr << "chat: " << failure.what() << '\n';
    return failure.code == MLXE_ERROR_CANCELLED ? 130 : 1;
}
