import CMLXEngine
import Foundation

/// Receives the events of a load. C calls one function at a time.
final class LoadObserver: Sendable {
    typealias Completion = @Sendable (Result<LanguageModel, any Error>) -> Void

    private let onUpdate: @Sendable (LoadingUpdate) -> Void
    private let onDone: Completion

    private init(onUpdate: @escaping @Sendable (LoadingUpdate) -> Void, onDone: @escaping Completion) {
        self.onUpdate = onUpdate
        self.onDone = onDone
    }

    /// Starts a load. `onDone` is called exactly once: on a thread of the library, or before this returns if the load
    /// is not accepted.
    static func start(
        _ configuration: ModelConfiguration, on engine: Engine, slot: TaskSlot,
        onUpdate: @escaping @Sendable (LoadingUpdate) -> Void, onDone: @escaping Completion
    ) {
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
        do {
            try configuration.withCOptions { options in
                callbacks.user_data = CallbackContext.retained(LoadObserver(onUpdate: onUpdate, onDone: onDone))
                try slot.start {
                    mlxe_load_start(engine.handle.pointer, configuration.hub?.handle.pointer, options, &callbacks, &$0)
                }
            }
        } catch {
            onDone(.failure(error))
        }
    }

    private func event(_ event: mlxe_load_event_t) {
        guard let phase = LoadingPhase(event) else { return }
        onUpdate(
            LoadingUpdate(
                phase: phase, estimatedProgress: event.estimated_progress,
                progress: event.progress.map { ModelProgress($0.pointee) }, memoryInUse: event.memory_bytes,
                elapsed: event.elapsed_seconds))
    }

    private func done(_ model: OpaquePointer?, _ error: OpaquePointer?) {
        if let model {
            let handle = Handle(model) { mlxe_model_free($0) }
            onDone(Result { try LanguageModel(handle) })
        } else if let error {
            onDone(.failure(EngineError(borrowing: error).orCancellation))
        } else {
            onDone(.failure(EngineError(.internal, "a load ended with neither a model nor an error")))
        }
    }
}

extension EngineError {
    /// Swift's error for cancelled work.
    var orCancellation: any Error {
        code == .cancelled ? CancellationError() : self
    }
}

extension LoadingPhase {
    /// Nil for phases of later versions.
    init?(_ event: mlxe_load_event_t) {
        let progress = event.progress.map { ModelProgress($0.pointee) }
        let (file, index, total) = (progress?.file ?? "", progress?.fileIndex ?? 0, progress?.totalFiles ?? 0)
        switch event.phase {
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
            let error = EngineError(.init(event.error_code), text(event.error_message) ?? "")
            self = .failed(LoadingError(phase: text(event.failed_phase) ?? "", error: error))
        default:
            return nil
        }
    }
}
