import Foundation

/// A running load: a sequence of its phases, and finally the model.
///
/// ```swift
/// let loading = LanguageModel.loading(directory: folder)
/// for try await phase in loading {
///     print(phase.description)
/// }
/// let model = try await loading.model
/// ```
///
/// The load is cancelled with the iterating task, by ``cancel()``, and when the last reference to this is gone. A load
/// that fails ends the sequence with ``LoadingPhase/failed(_:)`` and then its error.
public struct ModelLoading: AsyncSequence, Sendable {
    public typealias Element = LoadingPhase
    public typealias Failure = any Error
    public typealias AsyncIterator = AsyncThrowingStream<LoadingPhase, any Error>.Iterator

    /// The phases. Only one task may iterate them.
    public let phases: AsyncThrowingStream<LoadingPhase, any Error>

    /// Progress of the load, in thousandths, for `ProgressView`, `UIProgressView` and parents of this progress. On
    /// Apple's systems its description is the phase's. Cancelling it cancels the load.
    public let progress: Progress

    private let outcome: Outcome<LanguageModel>
    private let slot: TaskSlot

    init(_ configuration: ModelConfiguration, engine: Engine?) {
        let slot = TaskSlot()
        let outcome = Outcome<LanguageModel>()
        let progress = Progress(totalUnitCount: 1000)
        progress.isCancellable = true
        progress.cancellationHandler = { slot.cancel() }
        let (phases, continuation) = AsyncThrowingStream.makeStream(of: LoadingPhase.self)
        continuation.onTermination = { _ in slot.cancel() }
        let changes = PhaseChanges { continuation.yield($0) }
        let onDone: LoadObserver.Completion = { result in
            outcome.finish(result)
            switch result {
            case .success: continuation.finish()
            case .failure(let error): continuation.finish(throwing: error)
            }
        }
        do {
            LoadObserver.start(
                configuration, on: try engine ?? .shared(), slot: slot,
                onUpdate: { update in
                    progress.report(update)
                    changes.report(update.phase)
                }, onDone: onDone)
        } catch {
            onDone(.failure(error))
        }
        (self.phases, self.progress, self.outcome, self.slot) = (phases, progress, outcome, slot)
    }

    public func makeAsyncIterator() -> AsyncIterator {
        phases.makeAsyncIterator()
    }

    /// The model, once it is loaded. Can be awaited with or without iterating the phases, any number of times.
    ///
    /// - Throws: the error of the load; `CancellationError` if it was cancelled. Cancelling the waiting task cancels
    ///   the load.
    public var model: LanguageModel {
        get async throws {
            try await withTaskCancellationHandler {
                try await outcome.value()
            } onCancel: {
                slot.cancel()
            }
        }
    }

    /// Cancels the load. Does nothing once it is over.
    public func cancel() {
        slot.cancel()
    }
}

extension Progress {
    /// Updates the progress.
    func report(_ update: LoadingUpdate) {
        completedUnitCount = Int64(update.estimatedProgress * Double(totalUnitCount))
        #if canImport(Darwin)
        // Elsewhere Foundation gives no way to set it.
        localizedDescription = update.phase.description
        #endif
    }
}
