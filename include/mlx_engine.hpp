// MLXEngine in C++17: owning handles, exceptions, lambdas and strings over mlx_engine.h. No library of its own.
//
// Handles.     A class owns one handle of C, can be moved, and frees it. get() lends the handle to functions of C, which are
//              all that a program needs for what is not here.
// Errors.      What fails throws mlxe::error. In a program without exceptions it calls the handler of
//              mlxe::set_failure_handler(), and ends the program.
// Callbacks.   Any callable. What it returns decides: nothing, or true, to continue; false to cancel. An exception in it
//              cancels the task, and is thrown again where the task is waited for; it never crosses the library. Callbacks
//              run on threads of the library. What they refer to must live until the task is over.
// Options.     The structs of mlx_engine.h, initialised: auto options = mlxe::generate_options(); options.max_tokens =
//              mlxe_int(100); Strings in them are views, which must live until the call returns.
//
// What a function does, its threads and its errors are documented in mlx_engine.h under the same name.
#ifndef MLX_ENGINE_HPP
#define MLX_ENGINE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mlx_engine.h"

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define MLXE_HAS_EXCEPTIONS 1
#else
#define MLXE_HAS_EXCEPTIONS 0
#endif

namespace mlxe {

/// A failure: one of MLXE_ERROR_*, and a message for people.
class error : public std::exception {
public:
    error(std::int32_t code, std::string message) : code_(code), message_(std::make_shared<std::string>(std::move(message))) {}

    /// Copies an error of C, which stays the caller's.
    explicit error(const mlxe_error_t *from) : error(mlxe_error_code(from), mlxe_error_message(from)) {}

    std::int32_t code() const noexcept { return code_; }
    /// The code as mlx_engine.h spells it.
    const char *name() const noexcept { return mlxe_error_name(code_); }
    const char *what() const noexcept override { return message_->c_str(); }
    bool is_cancelled() const noexcept { return code_ == MLXE_ERROR_CANCELLED; }

private:
    std::int32_t code_;
    // Shared, so that copying an exception cannot throw.
    std::shared_ptr<std::string> message_;
};

/// Called before a program without exceptions ends because something failed.
using failure_handler = void (*)(const error &);

namespace detail {

inline failure_handler &handler() {
    static failure_handler current = nullptr;
    return current;
}

[[noreturn]] inline void fail(const error &failure) {
#if MLXE_HAS_EXCEPTIONS
    throw failure;
#else
    if (handler() != nullptr) {
        handler()(failure);
    }
    std::fprintf(stderr, "mlx_engine: %s: %s\n", failure.name(), failure.what());
    std::abort();
#endif
}

/// Frees a handle by its function.
template <auto Free>
struct deleter {
    template <class T>
    void operator()(T *handle) const noexcept {
        Free(handle);
    }
};

template <class T, auto Free>
using owner = std::unique_ptr<T, deleter<Free>>;

}  // namespace detail

/// Sets what is called before a program without exceptions ends. Not thread-safe; for the beginning of main().
inline void set_failure_handler(failure_handler handler) { detail::handler() = handler; }

/// Throws the error that a function of C returned, if it returned one, and frees it.
inline void check(mlxe_error_t *from) {
    if (from != nullptr) {
        const error failure(from);
        mlxe_error_free(from);
        detail::fail(failure);
    }
}

/// A view of text for functions and options of C.
inline mlxe_str_t view(std::string_view text) noexcept { return {text.data(), text.size()}; }

/// Takes over a string of C.
inline std::string take(mlxe_string_t *from) {
    const detail::owner<mlxe_string_t, mlxe_string_free> owned(from);
    return std::string(mlxe_string_data(from), mlxe_string_len(from));
}

/// Token ids.
using tokens = std::vector<std::uint32_t>;

/// Takes over token ids of C.
inline tokens take(mlxe_tokens_t *from) {
    const detail::owner<mlxe_tokens_t, mlxe_tokens_free> owned(from);
    const std::uint32_t *data = mlxe_tokens_data(from);
    return tokens(data, data + mlxe_tokens_len(from));
}

namespace detail {

template <class Options>
Options initialised(void (*init)(Options *, std::size_t)) {
    Options options;
    init(&options, sizeof options);
    return options;
}

/// Calls a function whose last argument receives a handle.
template <class T, class Function, class... Arguments>
T *made(Function function, Arguments... arguments) {
    T *handle = nullptr;
    check(function(arguments..., &handle));
    return handle;
}

template <class Duration>
double seconds(Duration time) {
    return std::chrono::duration<double>(time).count();
}

/// What a callback threw, for the thread that waits.
struct thrown {
    std::exception_ptr exception;

    void rethrow() const {
#if MLXE_HAS_EXCEPTIONS
        if (exception) {
            std::rethrow_exception(exception);
        }
#endif
    }
};

template <class F>
struct context {
    F function;
    std::shared_ptr<thrown> failure;
};

/// A callable as callbacks of C. `Callbacks` is their struct, `Event` what they are told.
template <class Callbacks, class Event, class F>
Callbacks callbacks(F &&function, std::shared_ptr<thrown> failure) {
    using own = context<std::decay_t<F>>;
    Callbacks made{};
    made.struct_size = sizeof made;
    made.user_data = new own{std::forward<F>(function), std::move(failure)};
    made.on_event = [](void *user_data, const Event *event) -> std::int32_t {
        auto &self = *static_cast<own *>(user_data);
#if MLXE_HAS_EXCEPTIONS
        try {
#endif
            if constexpr (std::is_void_v<std::invoke_result_t<std::decay_t<F> &, const Event &>>) {
                self.function(*event);
                return MLXE_CONTINUE;
            } else {
                return self.function(*event) ? MLXE_CONTINUE : MLXE_CANCEL;
            }
#if MLXE_HAS_EXCEPTIONS
        } catch (...) {
            if (!self.failure->exception) {
                self.failure->exception = std::current_exception();
            }
            return MLXE_CANCEL;
        }
#endif
    };
    made.drop = [](void *user_data) { delete static_cast<own *>(user_data); };
    return made;
}

}  // namespace detail

inline mlxe_engine_options_t engine_options() { return detail::initialised(mlxe_engine_options_init); }
inline mlxe_load_options_t load_options() { return detail::initialised(mlxe_load_options_init); }
/// To load a model from a directory; `directory` must live until the load has started.
inline mlxe_load_options_t load_options(std::string_view directory) {
    mlxe_load_options_t options = load_options();
    options.directory = view(directory);
    return options;
}
inline mlxe_hub_options_t hub_options() { return detail::initialised(mlxe_hub_options_init); }
inline mlxe_generate_options_t generate_options() { return detail::initialised(mlxe_generate_options_init); }
inline mlxe_template_options_t template_options() { return detail::initialised(mlxe_template_options_init); }
inline mlxe_process_options_t process_options() { return detail::initialised(mlxe_process_options_init); }

/// Converts text to tokens and back, and renders chats.
class tokenizer {
public:
    explicit tokenizer(mlxe_tokenizer_t *owned) : handle_(owned) {}

    /// Reads the tokenizer of a model's directory.
    static tokenizer open(std::string_view directory) {
        return tokenizer(detail::made<mlxe_tokenizer_t>(mlxe_tokenizer_open, view(directory)));
    }

    const mlxe_tokenizer_t *get() const noexcept { return handle_.get(); }
    std::size_t vocab_size() const noexcept { return mlxe_tokenizer_vocab_size(get()); }
    bool has_chat_template() const noexcept { return mlxe_tokenizer_has_chat_template(get()); }
    tokens eos_tokens() const { return take(detail::made<mlxe_tokens_t>(mlxe_tokenizer_eos_tokens, get())); }
    tokens special_tokens() const { return take(detail::made<mlxe_tokens_t>(mlxe_tokenizer_special_tokens, get())); }

    tokens encode(std::string_view text, bool add_special_tokens = false) const {
        return take(detail::made<mlxe_tokens_t>(mlxe_tokenizer_encode, get(), view(text), add_special_tokens));
    }
    /// Special tokens in the text are text.
    tokens encode_plain(std::string_view text, bool add_special_tokens = false) const {
        return take(detail::made<mlxe_tokens_t>(mlxe_tokenizer_encode_plain, get(), view(text), add_special_tokens));
    }
    std::string decode(const tokens &ids, bool skip_special_tokens = false) const {
        return take(
            detail::made<mlxe_string_t>(mlxe_tokenizer_decode, get(), ids.data(), ids.size(), skip_special_tokens));
    }
    std::uint32_t token_id(std::string_view token) const {
        std::uint32_t id = 0;
        check(mlxe_tokenizer_token_id(get(), view(token), &id));
        return id;
    }
    std::uint32_t role_id(std::string_view role) const {
        std::uint32_t id = 0;
        check(mlxe_tokenizer_role_id(get(), view(role), &id));
        return id;
    }
    /// They need not be UTF-8.
    std::string token_bytes(std::uint32_t id) const {
        return take(detail::made<mlxe_string_t>(mlxe_tokenizer_token_bytes, get(), id));
    }
    std::string apply_chat_template(std::string_view messages_json, const mlxe_template_options_t *options = nullptr) const {
        return take(
            detail::made<mlxe_string_t>(mlxe_tokenizer_apply_chat_template, get(), view(messages_json), options));
    }
    /// A prompt; special tokens in the messages are text.
    tokens encode_chat(std::string_view messages_json, const mlxe_template_options_t *options = nullptr) const {
        return take(detail::made<mlxe_tokens_t>(mlxe_tokenizer_encode_chat, get(), view(messages_json), options));
    }

private:
    detail::owner<mlxe_tokenizer_t, mlxe_tokenizer_free> handle_;
};

/// Work that was started. Destroying it neither cancels nor waits.
class task {
public:
    task(mlxe_task_t *owned, std::shared_ptr<detail::thrown> failure) : handle_(owned), failure_(std::move(failure)) {}

    const mlxe_task_t *get() const noexcept { return handle_.get(); }
    void cancel() const noexcept { mlxe_task_cancel(get()); }
    void pause() const noexcept { mlxe_task_pause(get()); }
    void resume() const noexcept { mlxe_task_resume(get()); }
    bool is_done() const noexcept { return mlxe_task_is_done(get()); }

    void wait() const {
        mlxe_error_t *failure = mlxe_task_wait(get());
        rethrow(failure);
        check(failure);
    }

    /// Whether it is over.
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> time) const {
        bool done = false;
        mlxe_error_t *failure = mlxe_task_wait_for(get(), detail::seconds(time), &done);
        if (done || failure != nullptr) {
            rethrow(failure);
        }
        check(failure);
        return done;
    }

protected:
    /// What a callback threw comes before the error that it led to.
    void rethrow(mlxe_error_t *failure) const {
        if (failure_ && mlxe_task_is_done(get()) && failure_->exception) {
            mlxe_error_free(failure);
            failure_->rethrow();
        }
    }

private:
    detail::owner<mlxe_task_t, mlxe_task_free> handle_;
    std::shared_ptr<detail::thrown> failure_;
};

/// A generation with callbacks.
class generation_task : public task {
public:
    using task::task;

    /// Waits for the end.
    mlxe_generation_stats_t stats() const {
        wait();
        mlxe_generation_stats_t stats{};
        stats.struct_size = sizeof stats;
        check(mlxe_task_stats(get(), &stats));
        return stats;
    }
};

/// Work on models, a search or an estimate.
class hub_task : public task {
public:
    using task::task;

    /// Waits for the result.
    std::string result() const {
        wait();
        return take(detail::made<mlxe_string_t>(mlxe_task_result, get()));
    }
};

/// A generation whose events are pulled. Destroying it cancels it.
class generation {
public:
    using event = mlxe_generation_event_t;

    explicit generation(mlxe_generation_t *owned) : handle_(owned) {}

    const mlxe_generation_t *get() const noexcept { return handle_.get(); }

    /// Waits for the next event, valid until the next one is taken; NULL at the end.
    const event *next() {
        const event *found = nullptr;
        check(mlxe_generation_next(get(), &found));
        done_ = found == nullptr;
        return found;
    }
    /// NULL if none came in time, or at the end, which done() tells.
    template <class Rep, class Period>
    const event *next_for(std::chrono::duration<Rep, Period> time) {
        const event *found = nullptr;
        check(mlxe_generation_next_for(get(), detail::seconds(time), &found, &done_));
        return found;
    }
    const event *try_next() {
        const event *found = nullptr;
        check(mlxe_generation_try_next(get(), &found, &done_));
        return found;
    }
    /// Whether the end was taken.
    bool done() const noexcept { return done_; }
    /// Readable while try_next() has something to say.
    int fd() const {
        std::int32_t fd = -1;
        check(mlxe_generation_fd(get(), &fd));
        return fd;
    }
    void cancel() const noexcept { mlxe_generation_cancel(get()); }
    /// Waits for the end.
    mlxe_generation_stats_t stats() const {
        mlxe_generation_stats_t stats{};
        stats.struct_size = sizeof stats;
        check(mlxe_generation_stats(get(), &stats));
        return stats;
    }

    /// For loops over all events that are left.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = event;
        using difference_type = std::ptrdiff_t;
        using pointer = const event *;
        using reference = const event &;

        explicit iterator(generation *of) : of_(of), event_(of != nullptr ? of->next() : nullptr) {}
        reference operator*() const { return *event_; }
        pointer operator->() const { return event_; }
        iterator &operator++() {
            event_ = of_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const { return event_ == other.event_; }
        bool operator!=(const iterator &other) const { return event_ != other.event_; }

    private:
        generation *of_;
        const event *event_;
    };
    iterator begin() { return iterator(this); }
    iterator end() { return iterator(nullptr); }

private:
    detail::owner<mlxe_generation_t, mlxe_generation_free> handle_;
    bool done_ = false;
};

/// The text of an event.
inline std::string_view text(const mlxe_generation_event_t &event) noexcept { return {event.text, event.text_len}; }

namespace detail {

/// Events that are pulled from a task which is started with the callbacks.
template <class Handle, class Event, class Callbacks, auto New, auto Next, auto NextFor, auto TryNext, auto Fd, auto Free>
class events {
public:
    using event = Event;

    events() {
        callbacks_.struct_size = sizeof callbacks_;
        handle_.reset(made<Handle>(New, &callbacks_));
    }

    const Handle *get() const noexcept { return handle_.get(); }
    /// For one task.
    const Callbacks &callbacks() const noexcept { return callbacks_; }
    /// Waits for the next event, valid until the next one is taken; NULL at the end.
    const Event *next() {
        const Event *found = nullptr;
        check(Next(get(), &found));
        done_ = found == nullptr;
        return found;
    }
    /// NULL if none came in time, or at the end, which done() tells.
    template <class Rep, class Period>
    const Event *next_for(std::chrono::duration<Rep, Period> time) {
        const Event *found = nullptr;
        check(NextFor(get(), seconds(time), &found, &done_));
        return found;
    }
    const Event *try_next() {
        const Event *found = nullptr;
        check(TryNext(get(), &found, &done_));
        return found;
    }
    /// Whether the end was taken.
    bool done() const noexcept { return done_; }
    /// Readable while try_next() has something to say.
    int fd() const {
        std::int32_t fd = -1;
        check(Fd(get(), &fd));
        return fd;
    }

private:
    Callbacks callbacks_{};
    owner<Handle, Free> handle_;
    bool done_ = false;
};

}  // namespace detail

/// Events of a load that are pulled: engine.start_load(options, events).
using load_events =
    detail::events<mlxe_load_events_t, mlxe_load_event_t, mlxe_load_callbacks_t, mlxe_load_events_new,
                   mlxe_load_events_next, mlxe_load_events_next_for, mlxe_load_events_try_next, mlxe_load_events_fd,
                   mlxe_load_events_free>;
/// Events of a hub's task that are pulled: hub::start(mlxe_hub_pull_start, events, hub.get(), ...).
using hub_events =
    detail::events<mlxe_hub_events_t, mlxe_progress_t, mlxe_hub_callbacks_t, mlxe_hub_events_new, mlxe_hub_events_next,
                   mlxe_hub_events_next_for, mlxe_hub_events_try_next, mlxe_hub_events_fd, mlxe_hub_events_free>;

/// A loaded model. Copies share it.
class model {
public:
    explicit model(mlxe_model_t *owned) : handle_(owned) {}
    model(const model &other) : handle_(detail::made<mlxe_model_t>(mlxe_model_clone, other.get())) {}
    model(model &&) noexcept = default;
    model &operator=(model other) noexcept {
        handle_ = std::move(other.handle_);
        return *this;
    }
    ~model() = default;

    const mlxe_model_t *get() const noexcept { return handle_.get(); }
    std::string info_json() const { return take(detail::made<mlxe_string_t>(mlxe_model_info_json, get())); }
    std::string config_json() const { return take(detail::made<mlxe_string_t>(mlxe_model_config_json, get())); }
    mlxe::tokenizer tokenizer() const {
        return mlxe::tokenizer(detail::made<mlxe_tokenizer_t>(mlxe_model_tokenizer, get()));
    }

    /// Starts a generation whose events are pulled.
    mlxe::generation generate(const tokens &prompt, const mlxe_generate_options_t *options = nullptr) const {
        return mlxe::generation(
            detail::made<mlxe_generation_t>(mlxe_generation_new, get(), prompt.data(), prompt.size(), options));
    }

    /// Starts a generation that tells `on_event` (called with const mlxe_generation_event_t &).
    template <class F>
    generation_task start(const tokens &prompt, const mlxe_generate_options_t *options, F &&on_event) const {
        auto failure = std::make_shared<detail::thrown>();
        const auto callbacks = detail::callbacks<mlxe_generate_callbacks_t, mlxe_generation_event_t>(
            std::forward<F>(on_event), failure);
        mlxe_task_t *started = nullptr;
        check(mlxe_generate_start(get(), prompt.data(), prompt.size(), options, &callbacks, &started));
        return generation_task(started, std::move(failure));
    }

private:
    detail::owner<mlxe_model_t, mlxe_model_free> handle_;
};

/// A load with callbacks.
class load_task : public task {
public:
    using task::task;

    /// Waits for the model.
    mlxe::model model() const {
        wait();
        return mlxe::model(detail::made<mlxe_model_t>(mlxe_task_model, get()));
    }
};

/// A models directory and how to reach the Hub.
class hub {
public:
    explicit hub(const mlxe_hub_options_t *options = nullptr) : handle_(detail::made<mlxe_hub_t>(mlxe_hub_new, options)) {}

    const mlxe_hub_t *get() const noexcept { return handle_.get(); }
    std::string directory() const { return mlxe_hub_directory(get()); }
    std::string list() const { return take(detail::made<mlxe_string_t>(mlxe_hub_list, get())); }
    std::string info(std::string_view id) const {
        return take(detail::made<mlxe_string_t>(mlxe_hub_info, get(), view(id)));
    }
    std::string remove(std::string_view id, std::string_view revision = {}) const {
        return take(detail::made<mlxe_string_t>(mlxe_hub_remove, get(), view(id), view(revision)));
    }

    /// Starts any task of a hub: start(mlxe_hub_pull_start, on_event, hub.get(), id, revision). `on_event` is called with
    /// const mlxe_progress_t &.
    template <class Function, class F, class... Arguments>
    static hub_task start(Function function, F &&on_event, Arguments... arguments) {
        auto failure = std::make_shared<detail::thrown>();
        const auto callbacks =
            detail::callbacks<mlxe_hub_callbacks_t, mlxe_progress_t>(std::forward<F>(on_event), failure);
        mlxe_task_t *started = nullptr;
        check(function(arguments..., &callbacks, &started));
        return hub_task(started, std::move(failure));
    }
    template <class Function, class... Arguments>
    static hub_task start(Function function, hub_events &events, Arguments... arguments) {
        mlxe_task_t *started = nullptr;
        check(function(arguments..., &events.callbacks(), &started));
        return hub_task(started, nullptr);
    }
    template <class F>
    hub_task pull(std::string_view id, std::string_view revision, F &&on_event) const {
        return start(mlxe_hub_pull_start, std::forward<F>(on_event), get(), view(id), view(revision));
    }
    template <class F>
    hub_task import_folder(std::string_view folder, std::string_view id, bool link, F &&on_event) const {
        return start(mlxe_hub_import_start, std::forward<F>(on_event), get(), view(folder), view(id), link);
    }
    template <class F>
    hub_task verify(std::string_view id, bool fix, F &&on_event) const {
        return start(mlxe_hub_verify_start, std::forward<F>(on_event), get(), view(id), fix);
    }
    hub_task search(std::string_view query_json = {}) const {
        return start(mlxe_hub_search_start, [](const mlxe_progress_t &) {}, get(), view(query_json));
    }

private:
    detail::owner<mlxe_hub_t, mlxe_hub_free> handle_;
};

/// The thread where models live and compute.
class engine {
public:
    explicit engine(const mlxe_engine_options_t *options = nullptr)
        : handle_(detail::made<mlxe_engine_t>(mlxe_engine_new, options)) {}

    const mlxe_engine_t *get() const noexcept { return handle_.get(); }
    const char *device() const noexcept { return mlxe_engine_device(get()); }
    std::size_t prefix_bytes() const noexcept { return mlxe_engine_prefix_bytes(get()); }
    void clear_prefixes() const noexcept { mlxe_engine_clear_prefixes(get()); }

    /// Starts a load that tells `on_event` (called with const mlxe_load_event_t &). `from` may be NULL.
    template <class F>
    load_task start_load(const mlxe_load_options_t &options, F &&on_event, const hub *from = nullptr) const {
        auto failure = std::make_shared<detail::thrown>();
        const auto callbacks =
            detail::callbacks<mlxe_load_callbacks_t, mlxe_load_event_t>(std::forward<F>(on_event), failure);
        mlxe_task_t *started = nullptr;
        check(mlxe_load_start(get(), from != nullptr ? from->get() : nullptr, &options, &callbacks, &started));
        return load_task(started, std::move(failure));
    }
    load_task start_load(const mlxe_load_options_t &options, load_events &events, const hub *from = nullptr) const {
        mlxe_task_t *started = nullptr;
        check(mlxe_load_start(get(), from != nullptr ? from->get() : nullptr, &options, &events.callbacks(), &started));
        return load_task(started, nullptr);
    }
    /// Loads and waits.
    template <class F>
    mlxe::model load(const mlxe_load_options_t &options, F &&on_event, const hub *from = nullptr) const {
        return start_load(options, std::forward<F>(on_event), from).model();
    }
    mlxe::model load(const mlxe_load_options_t &options, const hub *from = nullptr) const {
        return load(options, [](const mlxe_load_event_t &) {}, from);
    }
    mlxe::model load(std::string_view directory) const { return load(load_options(directory)); }

private:
    detail::owner<mlxe_engine_t, mlxe_engine_free> handle_;
};

}  // namespace mlxe

#endif  // MLX_ENGINE_HPP
