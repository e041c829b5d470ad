import CMLXEngine
import Foundation

/// Receives the events of a load. C calls one function at a time.
final class LoadObserver: Sendable {
    typealias Completion = @Sendable (Result<LanguageModel, any Error>) -> Void

    private struct State {
        var rate = ScreenRate()
        /// The last update, once it has come.
        var end: LoadingUpdate?
    }

    private let name: String
    private let onUpdate: @Sendable (LoadingUpdate) -> Void
    private let onDone: Completion
    private let state = Locked(State())

    init(name: String, onUpdate: @escaping @Sendable (LoadingUpdate) -> Void, onDone: @escaping Completion) {
        self.name = name
        self.onUpdate = onUpdate
        self.onDone = onDone
    }

    /// Starts a load. `onDone` is called exactly once, after a terminal update: on a thread of the library, or before
    /// this returns if the load is not accepted or was cancelled beforehand.
    static func start(
        _ configuration: ModelConfiguration, on engine: Engine?, slot: TaskSlot,
        onUpdate: @escaping @Sendable (LoadingUpdate) -> Void, onDone: @escaping Completion
    ) {
        let observer = LoadObserver(name: configuration.name, onUpdate: onUpdate, onDone: onDone)
        do {
            if slot.isCancelled { throw CancellationError() }
            if case .standIn(let model) = configuration.source {
                return model.load(slot: slot, observer)
            }
            let engine = try engine ?? .shared()
            try configuration.withCOptions { options in
                var callbacks = observer.retainedCallbacks()
                try slot.start {
                    mlxe_load_start(engine.handle.pointer, configuration.hub?.handle.pointer, options, &callbacks, &$0)
                }
            }
        } catch {
            observer.end(.failure(error))
        }
    }

    /// Callbacks for C, which own the observer from here on.
    private func retainedCallbacks() -> mlxe_load_callbacks_t {
        var callbacks = mlxe_load_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_load_callbacks_t>.size
        callbacks.on_event = { context, event in
            CallbackContext.borrowed(context, as: LoadObserver.self).event(event!.pointee)
            return MLXE_CONTINUE
        }
        callbacks.on_done = { context, model, error in
            CallbackContext.borrowed(context, as: LoadObserver.self).done(model, error)
        }
        callbacks.drop = CallbackContext.drop
        callbacks.user_data = CallbackContext.retained(self)
        return callbacks
    }

    private func event(_ event: mlxe_load_event_t) {
        if let phase = LoadingPhase(event) {
            update(
                LoadingUpdate(
                    phase: phase, description: text(event.description) ?? phase.description,
                    estimatedProgress: event.estimated_progress,
                    progress: event.progress.map { ModelProgress($0.pointee) },
                    memoryInUse: event.memory_bytes, elapsed: event.elapsed_seconds))
        }
    }

    /// Passes on an update, unless there are too many to be shown.
    func update(_ update: LoadingUpdate) {
        let shows = state.withLock { state in
            if update.isTerminal {
                state.end = update
            }
            return state.rate.shows(update)
        }
        if shows {
            onUpdate(update)
        }
    }

    private func done(_ model: OpaquePointer?, _ error: OpaquePointer?) {
        if let model {
            let handle = Handle(model) { mlxe_model_free($0) }
            end(Result { try LanguageModel(handle, name: name) })
        } else if let error {
            end(.failure(EngineError(borrowing: error).orCancellation))
        } else {
            end(.failure(EngineError(.internal, "a load ended with neither a model nor an error")))
        }
    }

    /// Ends the load, after a terminal update.
    func end(_ result: Result<LanguageModel, any Error>) {
        let last = state.withLock { $0.end }
        guard case .failure(let error) = result else { return onDone(result) }
        if case .failed(let failure) = last?.phase {
            return onDone(.failure(failure))
        }
        let phase = error is CancellationError ? LoadingPhase.cancelled : .failed(EngineError(any: error))
        // A load that was refused has no events of its own.
        if last == nil {
            update(
                LoadingUpdate(
                    phase: phase, description: phase.description, estimatedProgress: 0, memoryInUse: 0, elapsed: 0))
        }
        if case .failed(let failure) = phase {
            onDone(.failure(failure))
        } else {
            onDone(.failure(CancellationError()))
        }
    }
}

extension EngineError {
    /// Swift's error for cancelled work.
    var orCancellation: any Error {
        code == .cancelled ? CancellationError() : self
    }

    /// The error as one of ours.
    init(any error: any Error) {
        self = error as? EngineError ?? EngineError(.internal, "\(error)")
    }
}

extension LoadingPhase {
    /// Nil for phases of later versions.
    init?(_ event: mlxe_load_event_t) {
        let progress = event.progress.map { ModelProgress($0.pointee) }
        let (file, index, total) = (progress?.file ?? "", progress?.fileIndex ?? 0, progress?.totalFiles ?? 0)
        switch event.phase {
        case MLXE_PHASE_READING_CONFIG:
            self = .readingConfig
        case MLXE_PHASE_DOWNLOADING_CONFIG:
            self = .downloadingConfig
        case MLXE_PHASE_DOWNLOADING_WEIGHTS:
            self = .downloadingWeights(
                file: file, fileIndex: index, totalFiles: total, progress: progress?.fileFraction ?? 0)
        case MLXE_PHASE_LOADING_WEIGHTS:
            self = .loadingWeights(file: file, fileIndex: index, totalFiles: total)
        case MLXE_PHASE_LOADING_TOKENIZER:
            self = .loadingTokenizer
        case MLXE_PHASE_INITIALIZING_MODEL:
            self = .initializingModel
        case MLXE_PHASE_READY:
            self = .ready
        case MLXE_PHASE_FAILED:
            self = .failed(
                EngineError(
                    .init(event.error_code), text(event.error_message) ?? "", summary: text(event.error_summary),
                    phase: text(event.failed_phase), sentence: text(event.description)))
        case MLXE_PHASE_CANCELLED:
            self = .cancelled
        default:
            return nil
        }
    }
}
