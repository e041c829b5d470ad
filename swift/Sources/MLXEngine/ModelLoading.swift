import Foundation

/// A running load: a sequence of its phases and of progress within them, and finally the model.
///
/// ```swift
/// let loading = LanguageModel.loading(directory: folder)
/// for try await update in loading {
///     print(Int(update.estimatedProgress * 100), "%", update.description)
/// }
/// let model = try await loading.model
/// ```
///
/// Progress comes as often as a screen can show it, and a slow loop gets the latest; no phase is left out. The last
/// update of a load that fails is ``LoadingPhase/failed(_:)``, of one that is cancelled ``LoadingPhase/cancelled``; then
/// the sequence throws the same error, or `CancellationError`.
///
/// The load is cancelled with the task of the loop, by ``cancel()``, and when the last reference to this is gone. One
/// loop reads the sequence, and only once; any other throws ``EngineError`` with ``EngineError/Code/invalidArgument``.
public struct ModelLoading: AsyncSequence, Sendable {
    public typealias Element = LoadingUpdate
    public typealias Failure = any Error

    /// Progress of the load, in thousandths, for `ProgressView`, `UIProgressView` and parents of this progress. On
    /// Apple's systems its description is the phase's. Cancelling it cancels the load.
    public let progress: Progress

    private let outcome: Outcome<LanguageModel>
    private let work: Observed<LoadingUpdate>

    init(_ configuration: ModelConfiguration, engine: Engine?) {
        let work = Observed<LoadingUpdate>(endsWithLoop: false) { $0.isWithinPhase(of: $1) }
        let (events, slot) = (work.events, work.slot)
        let outcome = Outcome<LanguageModel>()
        let progress = Progress(totalUnitCount: 1000)
        progress.isCancellable = true
        progress.cancellationHandler = { slot.cancel() }
        LoadObserver.start(
            configuration, on: engine, slot: slot,
            onUpdate: { update in
                progress.report(update)
                events.send(update)
            },
            onDone: { result in
                outcome.finish(result)
                switch result {
                case .success: events.finish()
                case .failure(let error): events.finish(throwing: error)
                }
            })
        (self.progress, self.outcome, self.work) = (progress, outcome, work)
    }

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(reader: work.makeReader())
    }

    /// Reads the updates.
    public struct AsyncIterator: AsyncIteratorProtocol, Sendable {
        let reader: Observed<LoadingUpdate>.Reader

        public mutating func next() async throws -> LoadingUpdate? {
            try await reader.next()
        }
    }

    /// The model, once it is loaded. Can be awaited with or without reading the sequence, any number of times.
    ///
    /// - Throws: the error of the load; `CancellationError` if it was cancelled. Cancelling the waiting task cancels
    ///   the load.
    public var model: LanguageModel {
        get async throws {
            try await withTaskCancellationHandler {
                try await outcome.value()
            } onCancel: {
                work.slot.cancel()
            }
        }
    }

    /// Cancels the load. Does nothing once it is over.
    public func cancel() {
        work.slot.cancel()
    }
}

extension Progress {
    /// Updates the progress.
    func report(_ update: LoadingUpdate) {
        completedUnitCount = Int64(update.estimatedProgress * Double(totalUnitCount))
        #if canImport(Darwin)
        // Elsewhere Foundation gives no way to set it.
        localizedDescription = update.description
        #endif
    }
}
