import Foundation

/// A running download: a sequence of progress values, and finally the model's directory.
///
/// It is cancelled with the task of the loop that reads it, by ``cancel()``, and when the last reference to it is gone;
/// the loop then throws `CancellationError`. One loop reads it, and only once; any other throws ``EngineError`` with
/// ``EngineError/Code/invalidArgument``. A slow loop misses intermediate values, never the last one.
public struct ModelDownload: AsyncSequence, Sendable {
    public typealias Element = ModelProgress
    public typealias Failure = any Error

    private struct Finished: Decodable {
        let directory: String
    }

    private let outcome = Outcome<URL>()
    private let work = Observed<ModelProgress>(endsWithLoop: false) { _, _ in true }

    private var slot: TaskSlot {
        work.slot
    }

    init(_ start: (HubObserver, TaskSlot) throws -> Void) {
        let (outcome, events) = (outcome, work.events)
        HubObserver.run(
            slot: work.slot, onProgress: { events.send($0) },
            onDone: { result in
                let directory = result.flatMap { json in
                    Result { URL(filePath: try decodeJSON(Finished.self, json).directory, directoryHint: .isDirectory) }
                }
                outcome.finish(directory)
                switch directory {
                case .success: events.finish()
                case .failure(let error): events.finish(throwing: error)
                }
            }, start: start)
    }

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(reader: work.makeReader())
    }

    /// Reads the progress.
    public struct AsyncIterator: AsyncIteratorProtocol, Sendable {
        let reader: Observed<ModelProgress>.Reader

        public mutating func next() async throws -> ModelProgress? {
            try await reader.next()
        }
    }

    /// The folder of the model's files, once all have arrived. Can be awaited with or without iterating the progress.
    ///
    /// - Throws: the error of the download; `CancellationError` if it was cancelled. Cancelling the waiting task
    ///   cancels the download.
    public var directory: URL {
        get async throws {
            try await withTaskCancellationHandler {
                try await outcome.value()
            } onCancel: {
                slot.cancel()
            }
        }
    }

    /// Closes all connections until ``resume()``. What has arrived is kept.
    public func pause() {
        slot.pause()
    }

    /// Continues where it stopped.
    public func resume() {
        slot.resume()
    }

    /// Cancels the download. What has arrived is kept for the next one.
    public func cancel() {
        slot.cancel()
    }
}
