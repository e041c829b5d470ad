import Foundation

extension LanguageModel {
    /// Loads a model from a directory.
    ///
    /// - Parameters:
    ///   - directory: The folder, with `config.json`, weights and tokenizer.
    ///   - hub: The hub whose catalogue applies, if the directory is inside a models directory; nil for the built-in
    ///     catalogue.
    ///   - engine: Where the model will compute; nil for ``Engine/shared()``.
    ///   - phaseHandler: Called for every phase, in order. The last one is terminal, also where the load was cancelled
    ///     before it began. Called on a thread of the library; slow handlers delay the load.
    /// - Throws: ``EngineError``, the same as in the last phase, or `CancellationError` if the task is cancelled, which
    ///   stops the load within one step.
    public static func load(
        directory: URL, hub: ModelHub? = nil, engine: Engine? = nil, phaseHandler: @escaping PhaseHandler = { _ in }
    ) async throws -> LanguageModel {
        try await load(ModelConfiguration(directory: directory, hub: hub), engine: engine, phaseHandler: phaseHandler)
    }

    /// Loads a model from the Hugging Face Hub; missing files are downloaded first.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    ///   - hub: Where the model is kept and comes from; nil for the hub that the environment describes.
    ///   - engine: Where the model will compute; nil for ``Engine/shared()``.
    ///   - phaseHandler: Called for every phase; see ``load(directory:hub:engine:phaseHandler:)``.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public static func load(
        id: String, revision: String = "main", hub: ModelHub? = nil, engine: Engine? = nil,
        phaseHandler: @escaping PhaseHandler = { _ in }
    ) async throws -> LanguageModel {
        try await load(
            ModelConfiguration(id: id, revision: revision, hub: hub), engine: engine, phaseHandler: phaseHandler)
    }

    /// Loads a model.
    ///
    /// - Parameters:
    ///   - configuration: What to load.
    ///   - engine: Where the model will compute; nil for ``Engine/shared()``.
    ///   - phaseHandler: Called for every phase; see ``load(directory:hub:engine:phaseHandler:)``.
    ///   - updateHandler: Also called for progress within phases, with bytes and memory, as often as a screen can show
    ///     it.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public static func load(
        _ configuration: ModelConfiguration, engine: Engine? = nil,
        phaseHandler: @escaping PhaseHandler = { _ in },
        updateHandler: @escaping @Sendable (LoadingUpdate) -> Void = { _ in }
    ) async throws -> LanguageModel {
        let slot = TaskSlot()
        let changes = PhaseChanges(phaseHandler)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                LoadObserver.start(
                    configuration, on: engine, slot: slot,
                    onUpdate: { update in
                        updateHandler(update)
                        changes.report(update.phase)
                    },
                    onDone: { continuation.resume(with: $0) })
            }
        } onCancel: {
            slot.cancel()
        }
    }

    /// Loads a model from a directory, as a sequence of phases and of progress within them.
    public static func loading(directory: URL, hub: ModelHub? = nil, engine: Engine? = nil) -> ModelLoading {
        ModelLoading(ModelConfiguration(directory: directory, hub: hub), engine: engine)
    }

    /// Loads a model from the Hugging Face Hub, as a sequence of phases and of progress within them.
    public static func loading(
        id: String, revision: String = "main", hub: ModelHub? = nil, engine: Engine? = nil
    ) -> ModelLoading {
        ModelLoading(ModelConfiguration(id: id, revision: revision, hub: hub), engine: engine)
    }

    /// Loads a model, as a sequence of phases and of progress within them.
    public static func loading(_ configuration: ModelConfiguration, engine: Engine? = nil) -> ModelLoading {
        ModelLoading(configuration, engine: engine)
    }
}

/// Passes on each phase once: progress within a phase is not a new phase.
final class PhaseChanges: Sendable {
    private let handler: PhaseHandler
    private let last = Locked<LoadingPhase?>(nil)

    init(_ handler: @escaping PhaseHandler) {
        self.handler = handler
    }

    func report(_ phase: LoadingPhase) {
        let isNew = last.withLock { last in
            defer { last = phase }
            return last != phase
        }
        if isNew {
            handler(phase)
        }
    }
}
