// Asks a model a question: chat MODEL_DIRECTORY QUESTION
//
//     c++ -std=c++17 chat.cpp $(pkg-config --cflags --libs mlx_engine) -o chat

#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>

#include <unistd.h>

#include <mlx_engine.hpp>

namespace {

volatile std::sig_atomic_t interrupted = 0;

/// A bar that moves in place on a terminal, a line for each phase elsewhere.
class Progress {
public:
    bool operator()(const mlxe_load_event_t &event) {
        const int percent = static_cast<int>(event.estimated_progress * 100);
        const double megabytes = static_cast<double>(event.memory_bytes) / 1e6;
        if (isatty(STDERR_FILENO)) {
            std::string bar(30, '.');
            bar.replace(0, static_cast<std::size_t>(percent * 30 / 100), percent * 30 / 100, '#');
            std::fprintf(stderr, "\r\x1b[K[%s] %3d%%  %.1f MB  %s%s", bar.c_str(), percent, megabytes, event.description,
                         event.is_terminal ? "\n" : "");
        } else if (event.phase != last_phase_) {
            std::fprintf(stderr, "%3d%%  %.1f MB  %s\n", percent, megabytes, event.description);
        }
        last_phase_ = event.phase;
        return !interrupted;
    }

private:
    std::int32_t last_phase_ = 0;
};

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
    const mlxe::engine engine;
    const auto model = engine.load(mlxe::load_options(directory), Progress());

    // The question becomes the prompt that the model was trained on. What looks like a control token in it stays text.
    const auto prompt = model.tokenizer().encode_chat(messages_json(question));

    auto options = mlxe::generate_options();
    options.max_tokens = mlxe_int(512);
    options.temperature = mlxe_float(0.7);
    options.top_p = mlxe_float(0.9);
    auto generation = model.generate(prompt, &options);
    for (const auto &event : generation) {
        std::cout << mlxe::text(event) << std::flush;
        if (interrupted) {
            generation.cancel();
        }
    }
    const auto stats = generation.stats();
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
} catch (const mlxe::error &error) {
    std::cerr << "chat: " << error.what() << '\n';
    return error.is_cancelled() ? 130 : 1;
}
