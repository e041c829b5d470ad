import Foundation
import Observation

/// Loads a model for a view: the phase to show, finally the model, and a way to stop.
///
/// ```swift
/// let loader = ModelLoader()
/// loader.load(ModelConfiguration(directory: folder))
/// // In a view: ProgressView(loader.status, value: loader.estimatedProgress)
/// print(loader.status, loader.estimatedProgress)
/// ```
@MainActor @Observable
public final class ModelLoader {
    /// What the load is doing; nil before the first load and after a cancelled one.
    public private(set) var phase: LoadingPhase?

    /// What the load is doing, as a sentence for people, which also tells of retries and of waiting; empty without a
    /// phase.
    public private(set) var status = ""

    /// Estimated progress, 0 to 1.
    public private(set) var estimatedProgress = 0.0

    /// The model, once it is loaded.
    public private(set) var model: LanguageModel?

    /// Why the last load failed.
    public private(set) var error: EngineError?

    @ObservationIgnored private var task: Task<Void, Never>?
    @ObservationIgnored private var generation = 0

    /// A loader with nothing loaded.
    public init() {}

    /// Whether a load is running.
    public var isLoading: Bool {
        phase.map { !$0.isTerminal } ?? false
    }

    /// Loads a model. A running load is cancelled, and a loaded model is unloaded first, as by
    /// ``LanguageModel/unload()``, so that two never take memory at once.
    ///
    /// - Parameters:
    ///   - configuration: What to load.
    ///   - engine: Where it will compute; nil for ``Engine/shared()``.
    /// - Returns: A task that ends with the load, for callers that want to wait.
    @discardableResult
    public func load(_ configuration: ModelConfiguration, engine: Engine? = nil) -> Task<Void, Never> {
        let old = model
        unload()
        let current = generation
        let first: LoadingPhase = if case .id = configuration.source { .downloadingConfig } else { .readingConfig }
        (phase, status) = (first, first.description)
        // Weak, so that an unreferenced loader stops.
        let task = Task { [weak self] in
            // Only the latest is worth showing.
            let (updates, continuation) = AsyncStream.makeStream(
                of: LoadingUpdate.self, bufferingPolicy: .bufferingNewest(1))
            async let loaded = Result {
                defer { continuation.finish() }
                try await old?.unload()
                return try await LanguageModel.load(
                    configuration, engine: engine, updateHandler: { continuation.yield($0) })
            }
            for await update in updates {
                self?.show(update, of: current)
            }
            self?.finish(await loaded, of: current)
        }
        self.task = task
        return task
    }

    deinit {
        task?.cancel()
    }

    /// Stops a running load.
    public func cancel() {
        if isLoading {
            unload()
        }
    }

    /// Releases the model, or stops a running load.
    public func unload() {
        generation += 1
        task?.cancel()
        task = nil
        (phase, status, estimatedProgress, model, error) = (nil, "", 0, nil, nil)
    }

    // Results of a load that is no longer the current one are ignored.

    private func show(_ update: LoadingUpdate, of load: Int) {
        guard load == generation, !update.phase.isTerminal else { return }
        (phase, status, estimatedProgress) = (update.phase, update.description, update.estimatedProgress)
    }

    private func finish(_ result: Result<LanguageModel, any Error>, of load: Int) {
        guard load == generation else { return }
        task = nil
        switch result {
        case .success(let model):
            self.model = model
            (phase, status, estimatedProgress) = (.ready, LoadingPhase.ready.description, 1)
        case .failure(is CancellationError):
            (phase, status, estimatedProgress) = (nil, "", 0)
        case .failure(let error):
            let failure = EngineError(any: error)
            self.error = failure
            (phase, status, estimatedProgress) = (.failed(failure), failure.localizedDescription, 0)
        }
    }
}
