// Nothing but the wrapper, included twice as by two other headers.
#include "mlx_engine.hpp"
#include "mlx_engine.hpp"

/// Templates are compiled where they are used.
inline void use(const mlxe::engine &engine, const mlxe::hub &hub) {
    const auto options = mlxe::generate_options();
    auto model = engine.load(mlxe::load_options("directory"), [](const mlxe_load_event_t &) { return true; }, &hub);
    model.start({1}, &options, [](const mlxe_generation_event_t &) {}).stats();
    hub.pull("id", {}, [](const mlxe_progress_t &) { return false; }).result();
    hub.import_folder("folder", "id", false, [](const mlxe_progress_t &) {}).wait();
    hub.verify("id", false, [](const mlxe_progress_t &) {}).cancel();
    mlxe::hub_events events;
    mlxe::hub::start(mlxe_hub_pull_start, events, hub.get(), mlxe::view("id"), mlxe::view({})).result();
    hub.search("{}").wait_for(std::chrono::seconds(1));
    for (const auto &event : model.generate(model.tokenizer().encode_chat("[]"), &options)) {
        static_cast<void>(mlxe::text(event));
    }
}
