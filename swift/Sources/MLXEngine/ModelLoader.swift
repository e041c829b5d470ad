import Foundation
import Observation

/// Loads a model for a view: the phase to show, finally the model, and a way to stop.
///
/// ```swift
/// let loader = ModelLoader()
/// loader.load(ModelConfiguration(directory: folder))
/// // In a view: ProgressView(loader.phase.description, value: loader.estimatedProgress)
/// ```
@MainActor @Observable
public final class ModelLoader {
    /// What the load is doing; nil before the first load and after a cancelled one.
    public private(set) var phase: LoadingPhase?

    /// Estimated progress, 0 to 1.
    public private(set) var estimatedProgress = 0.0

    /// The model, once it is loaded.
    public private(set) var model: LanguageModel?

    /// Why the last load failed.
    public private(set) var error: LoadingError?

    @ObservationIgnored private var task: Task<Void, Never>?
    @ObservationIgnored private var generation = 0

    /// A loader with nothing loaded.
    public init() {}

    /// Whether a load is running.
    public var isLoading: Bool {
        phase.map { !$0.isTerminal } ?? false
    }

    /// Loads a model. A running load is cancelled, and a loaded model is released first, so that two never take memory
    /// at once.
    ///
    /// - Parameters:
    ///   - configuration: What to load.
    ///   - engine: Where it will compute; nil for ``Engine/shared()``.
    /// - Returns: A task that ends with the load, for callers that want to wait.
    @discardableResult
    public func load(_ configuration: ModelConfiguration, engine: Engine? = nil) -> Task<Void, Never> {
        unload()
        let current = generation
        phase = .downloadingConfig
        // Weak, so that an unreferenced loader stops.
        let task = Task { [weak self] in
            // Only the latest is worth showing.
            let (updates, continuation) = AsyncStream.makeStream(
                of: LoadingUpdate.self, bufferingPolicy: .bufferingNewest(1))
            async let loaded = Result {
                defer { continuation.finish() }
                return try await LanguageModel.load(
                    configuration, engine: engine, updateHandler: { continuation.yield($0) })
            }
            var failure: LoadingError?
            for await update in updates {
                if case .failed(let error) = update.phase {
                    failure = error
                } else {
                    self?.show(update, of: current)
                }
            }
            self?.finish(await loaded, failure, of: current)
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
        (phase, estimatedProgress, model, error) = (nil, 0, nil, nil)
    }

    // Results of a load that is no longer the current one are ignored.

    private func show(_ update: LoadingUpdate, of load: Int) {
        guard load == generation, !update.phase.isTerminal else { return }
        (phase, estimatedProgress) = (update.phase, update.estimatedProgress)
    }

    private func finish(_ result: Result<LanguageModel, any Error>, _ failure: LoadingError?, of load: Int) {
        guard load == generation else { return }
        task = nil
        switch result {
        case .success(let model):
            self.model = model
            (phase, estimatedProgress) = (.ready, 1)
        case .failure(is CancellationError):
            (phase, estimatedProgress) = (nil, 0)
        case .failure(let error):
            // Without an event, the load was refused before it began.
            let failure = failure ?? LoadingError(phase: "downloadingConfig", error: error)
            self.error = failure
            (phase, estimatedProgress) = (.failed(failure), 0)
        }
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
