import Foundation
import Testing

@testable import MLXEngine

/// The small model of the repository, and copies of it that are broken on purpose.
enum Fixtures {
    static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static let tiny = repository.appending(path: "tests/fixtures/tiny-qwen3")

    private static let loaded = Task { try await LanguageModel.load(directory: tiny) }

    /// The small model, loaded once.
    static func model() async throws -> LanguageModel {
        try await loaded.value
    }

    /// A copy of the small model, changed by `change`, for the length of `body`.
    static func withCopy<Result>(
        _ change: (URL) throws -> Void, _ body: (URL) async throws -> Result
    ) async throws -> Result {
        let copy = FileManager.default.temporaryDirectory.appending(path: "mlx-engine-\(UUID().uuidString)")
        try FileManager.default.copyItem(at: tiny, to: copy)
        defer { try? FileManager.default.removeItem(at: copy) }
        try change(copy)
        return try await body(copy)
    }
}

/// Collects values from any thread.
final class Collected<Value: Sendable>: Sendable {
    private let all = Locked<[Value]>([])

    var values: [Value] {
        all.withLock { $0 }
    }

    func append(_ value: Value) {
        all.withLock { $0.append(value) }
    }
}

/// The library's error that `body` throws; anything else is an issue.
func engineError(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> some Any
) async -> EngineError? {
    do {
        _ = try await body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
    } catch let error as EngineError {
        return error
    } catch {
        Issue.record(error, sourceLocation: sourceLocation)
    }
    return nil
}
