import Foundation

/// A download under way: a sequence of its progress, and the model's directory in the end.
///
/// Only one task may iterate it. It is cancelled when that task is, by ``cancel()``, and when nobody holds it any more.
/// A slow reader misses intermediate values, never the last one.
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

    /// Where the model's files are, once they are all there. Can be asked for with or without iterating the progress.
    ///
    /// - Throws: what the download failed with; `CancellationError` if it was cancelled. Cancelling the task that waits
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

    /// Closes all connections until ``resume()``. What has arrived stays.
    public func pause() {
        slot.pause()
    }

    /// Continues where it stopped.
    public func resume() {
        slot.resume()
    }

    /// Cancels the download. What has arrived stays for the next one.
    public func cancel() {
        slot.cancel()
    }
}
