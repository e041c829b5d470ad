// The header in C++20: RAII, the iterator, callbacks made of lambdas; and static initialisation.
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *handle) const {
        Free(handle);
    }
};
using Engine = std::unique_ptr<mlxe_engine_t, Deleter<mlxe_engine_free>>;
using Model = std::unique_ptr<mlxe_model_t, Deleter<mlxe_model_free>>;
using Task = std::unique_ptr<mlxe_task_t, Deleter<mlxe_task_free>>;
using Generation = std::unique_ptr<mlxe_generation_t, Deleter<mlxe_generation_free>>;

static_assert(std::string_view("abc").size() == 3);
static const mlxe_str_t literal = MLXE_STR("a\0b");

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    CHECK(literal.len == 3 && literal.data[2] == 'b');
    Engine engine(new_engine());
    Model model(load_model(engine.get(), argv[1]));
    engine.reset();

    const auto options = generate_options(10);
    mlxe_generation_t *raw = nullptr;
    OK(mlxe_generation_new(model.get(), PROMPT, PROMPT_LEN, &options, &raw));
    Generation generation(raw);
    std::vector<std::uint32_t> pulled;
    const mlxe_generation_event_t *event = nullptr;
    do {
        OK(mlxe_generation_next(generation.get(), &event));
        if (event != nullptr && event->kind == MLXE_GENERATION_TOKEN) {
            pulled.push_back(event->token);
        }
    } while (event != nullptr);

    // A heap object as user data, which drop frees.
    struct Context {
        std::vector<std::uint32_t> *tokens;
    };
    std::vector<std::uint32_t> pushed;
    mlxe_generate_callbacks_t callbacks{};
    callbacks.struct_size = sizeof callbacks;
    callbacks.user_data = new Context{&pushed};
    callbacks.on_event = [](void *user, const mlxe_generation_event_t *e) -> std::int32_t {
        if (e->kind == MLXE_GENERATION_TOKEN) {
            static_cast<Context *>(user)->tokens->push_back(e->token);
        }
        return MLXE_CONTINUE;
    };
    callbacks.drop = [](void *user) { delete static_cast<Context *>(user); };
    mlxe_task_t *task = nullptr;
    OK(mlxe_generate_start(model.get(), PROMPT, PROMPT_LEN, &options, &callbacks, &task));
    Task owner(task);
    model.reset();
    OK(mlxe_task_wait(task));
    CHECK(pulled.size() == 10 && pulled == pushed);
    return 0;
}
