import Foundation

/// A running download: a sequence of progress values, and finally the model's directory.
///
/// Only one task may iterate it. It is cancelled with that task, by ``cancel()``, and when the last reference to it is
/// gone. A slow reader misses intermediate values, never the last one.
public struct ModelDownload: AsyncSequence, Sendable {
    public typealias Element = ModelProgress
    public typealias Failure = any Error
    public typealias AsyncIterator = AsyncThrowingStream<ModelProgress, any Error>.Iterator

    private struct Finished: Decodable {
        let directory: String
    }

    private let progress: AsyncThrowingStream<ModelProgress, any Error>
    private let outcome = Outcome<URL>()
    private let slot: TaskSlot

    init(_ start: (HubObserver, TaskSlot) throws -> Void) {
        let slot = TaskSlot()
        let outcome = outcome
        let (progress, continuation) = AsyncThrowingStream.makeStream(
            of: ModelProgress.self, bufferingPolicy: .bufferingNewest(1))
        continuation.onTermination = { _ in slot.cancel() }
        (self.progress, self.slot) = (progress, slot)
        HubObserver.run(
            slot: slot, onProgress: { continuation.yield($0) },
            onDone: { result in
                let directory = result.flatMap { json in
                    Result { URL(filePath: try decodeJSON(Finished.self, json).directory, directoryHint: .isDirectory) }
                }
                outcome.finish(directory)
                switch directory {
                case .success: continuation.finish()
                case .failure(let error): continuation.finish(throwing: error)
                }
            }, start: start)
    }

    public func makeAsyncIterator() -> AsyncIterator {
        progress.makeAsyncIterator()
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
