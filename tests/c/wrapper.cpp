// mlx_engine.hpp in C++17: handles, errors, callbacks, pulled events, strings. Also built without exceptions.
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "mlx_engine.hpp"

static const mlxe::tokens prompt(PROMPT, PROMPT + PROMPT_LEN);

static mlxe_load_options_t options_for(const char *directory) { return load_options(directory); }

static void pulled_and_pushed(const mlxe::model &model) {
    const auto options = generate_options(10);
    mlxe::tokens pulled, pushed, polled;
    auto generation = model.generate(prompt, &options);
    CHECK(generation.fd() >= 0);
    for (const auto &event : generation) {
        if (event.kind == MLXE_GENERATION_TOKEN) {
            CHECK(mlxe::text(event).size() == event.text_len);
            pulled.push_back(event.token);
        }
    }
    CHECK(generation.done() && generation.next() == nullptr && generation.stats().generated_tokens == 10);

    auto waiting = model.generate(prompt, &options);
    while (!waiting.done()) {
        const auto *event = waiting.next_for(std::chrono::milliseconds(5));
        if (event != nullptr && event->kind == MLXE_GENERATION_TOKEN) {
            polled.push_back(event->token);
        }
    }
    CHECK(waiting.try_next() == nullptr && waiting.done());

    // What a lambda holds is freed with it.
    const auto held = std::make_shared<int>(7);
    const auto task = model.start(prompt, &options, [&pushed, held](const mlxe_generation_event_t &event) {
        if (event.kind == MLXE_GENERATION_TOKEN) {
            pushed.push_back(event.token);
        }
    });
    CHECK(task.stats().stop_reason == MLXE_STOP_LENGTH && task.is_done());
    CHECK(task.wait_for(std::chrono::seconds(1)));
    CHECK(held.use_count() == 1);
    CHECK(pulled.size() == 10 && pulled == pushed && pulled == polled);

    // False cancels.
    int tokens = 0;
    const auto endless = generate_options(400);
    const auto cut = model.start(prompt, &endless, [&tokens](const mlxe_generation_event_t &event) {
        return event.kind != MLXE_GENERATION_TOKEN || ++tokens < 3;
    });
    CHECK(cut.stats().stop_reason == MLXE_STOP_CANCELLED && tokens == 3);
}

#if MLXE_HAS_EXCEPTIONS
struct mine {
    int value;
};

static void failures(const mlxe::engine &engine, const mlxe::model &model, const char *directory) {
    bool caught = false;
    try {
        engine.load(options_for("/nonexistent/model"));
    } catch (const mlxe::error &error) {
        caught = true;
        CHECK(error.code() == MLXE_ERROR_NOT_FOUND && std::string(error.name()) == "MLXE_ERROR_NOT_FOUND");
        CHECK(std::string(error.what()).find("/nonexistent/model") != std::string::npos && !error.is_cancelled());
    }
    CHECK(caught);
    // What a callback throws arrives where the task is waited for.
    const auto options = generate_options(400);
    for (int way = 0; way < 3; way++) {
        const auto task = model.start(prompt, &options, [](const mlxe_generation_event_t &) { throw mine{5}; });
        caught = false;
        try {
            if (way == 0) {
                task.wait();
            } else if (way == 1) {
                task.stats();
            } else {
                while (!task.wait_for(std::chrono::milliseconds(1))) {
                }
            }
        } catch (const mine &thrown) {
            caught = thrown.value == 5;
        }
        CHECK(caught);
    }
    caught = false;
    try {
        engine.load(options_for(directory), [](const mlxe_load_event_t &) { throw mine{6}; });
    } catch (const mine &thrown) {
        caught = thrown.value == 6;
    }
    CHECK(caught);
    // Refused callbacks are freed.
    const auto held = std::make_shared<int>(7);
    caught = false;
    try {
        model.start({}, nullptr, [held](const mlxe_generation_event_t &) {});
    } catch (const mlxe::error &error) {
        caught = error.code() == MLXE_ERROR_INVALID_ARGUMENT;
    }
    CHECK(caught && held.use_count() == 1);
}
#else
static const char *failing;

/// The handler comes before the end.
static void on_failure(const mlxe::error &error) {
    CHECK(error.code() == MLXE_ERROR_NOT_FOUND && std::string(error.what()).find(failing) != std::string::npos);
    std::exit(0);
}
#endif

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    auto settings = mlxe::engine_options();
    settings.device = MLXE_DEVICE_CPU;
    mlxe::engine engine(&settings);
    CHECK(std::string(engine.device()) == "cpu");
    std::atomic<int> events{0};
    const auto load = engine.start_load(options_for(argv[1]), [&events](const mlxe_load_event_t &event) {
        CHECK(std::string(event.phase_name).size() > 0);
        ++events;
    });
    mlxe::model model = load.model();
    CHECK(events > 3);
    // The same, pulled.
    mlxe::load_events pulled;
    CHECK(pulled.fd() >= 0 && pulled.try_next() == nullptr && !pulled.done());
    const auto second = engine.start_load(options_for(argv[1]), pulled);
    int taken = 0;
    while (!pulled.done()) {
        taken += pulled.next_for(std::chrono::milliseconds(5)) != nullptr;
    }
    CHECK(taken > 3 && pulled.next() == nullptr && second.model().get() != nullptr);
    // Copies and moves, and handles in any order.
    mlxe::model copy = model;
    model = std::move(copy);
    copy = model;
    CHECK(copy.get() != model.get() && copy.info_json() == model.info_json());
    CHECK(model.config_json().find("model_type") != std::string::npos);
    mlxe::engine moved = std::move(engine);
    pulled_and_pushed(model);
#if MLXE_HAS_EXCEPTIONS
    failures(moved, model, argv[1]);
#else
    failing = "/nonexistent/model";
    mlxe::set_failure_handler(on_failure);
    moved.load(options_for(failing));
    CHECK(false);
#endif
    return 0;
}
