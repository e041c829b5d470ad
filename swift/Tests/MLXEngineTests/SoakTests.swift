import Foundation
import Testing

@testable import MLXEngine

/// What must not grow, and what must not race. `make test-swift` runs the second part under ThreadSanitizer too, with
/// more rounds.
@Suite(.serialized) struct SoakTests {
    static let rounds = ProcessInfo.processInfo.environment["MLXE_TEST_ROUNDS"].flatMap(Int.init) ?? 300

    #if os(Linux)
    /// Bytes of this process in memory.
    static func residentBytes() throws -> Int {
        let statm = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        return Int(statm.split(separator: " ")[1])! * 4096
    }

    @Test func memoryIsFlatOver200Sessions() async throws {
        let model = try await Fixtures.model()
        func talk(_ count: Int) async throws {
            for number in 0..<count {
                let session = ChatSession(model, generateParameters: GenerateParameters(maxTokens: 3))
                if number.isMultiple(of: 2) {
                    try await session.respond(to: "Hello")
                } else {
                    for try await _ in session.streamResponse(to: "Hello") { break }
                }
            }
            // What was left in the middle needs a step to end, and gives its memory back then.
            _ = try await model.generate("Once", parameters: GenerateParameters(maxTokens: 3))
            try await Task.sleep(for: .milliseconds(300))
        }
        // Allocators settle first.
        try await talk(40)
        let (before, active) = (try Self.residentBytes(), MLXMemory.active)
        try await talk(200)
        let (after, activeAfter) = (try Self.residentBytes(), MLXMemory.active)
        print("200 sessions: \((after - before) >> 10) KiB more in memory, MLX \(activeAfter - active) bytes more")
        #expect(after - before < 6 << 20, "200 sessions took \((after - before) >> 10) KiB")
        #expect(activeAfter - active < 1 << 20, "MLX holds \(activeAfter - active) bytes more")
    }

    @Test func memoryOfAModelComesBack() async throws {
        func load() async throws -> Int {
            let model = try await LanguageModel.load(directory: Fixtures.tiny)
            return try withExtendedLifetime(model) { try Self.residentBytes() }
        }
        for _ in 0..<5 {
            _ = try await load()
        }
        let first = try await load()
        for _ in 0..<20 {
            _ = try await load()
        }
        let last = try await load()
        // Each load takes more than 10 MB.
        #expect(last - first < 20 << 20, "20 loads took \((last - first) >> 10) KiB")
    }
    #endif

    @Test func creatingCancellingAndFreeingFromManyTasks() async throws {
        let finished = Locked((loads: 0, cancelled: 0, generations: 0))
        let model = try await Fixtures.model()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<8 {
                group.addTask {
                    var random = Random(seed: UInt64(worker))
                    for round in 0..<Self.rounds {
                        if round.isMultiple(of: 8) {
                            try await Self.loadAndCancel(&random, finished)
                        } else {
                            try await Self.generateAndCancel(model, &random, finished)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let counts = finished.withLock { $0 }
        #expect(counts.loads + counts.cancelled + counts.generations == 8 * Self.rounds)
        #expect(counts.cancelled > 0 && counts.generations > 0)
        // Everything still works.
        #expect(try await model.generate(GenerationTests.france).text.hasSuffix("Paris."))
    }

    private typealias Counts = Locked<(loads: Int, cancelled: Int, generations: Int)>

    private static func loadAndCancel(_ random: inout Random, _ counts: Counts) async throws {
        let loading = LanguageModel.loading(directory: Fixtures.tiny)
        let delay = random.next(upTo: 3_000)
        let canceller = Task {
            try await Task.sleep(for: .microseconds(delay))
            loading.cancel()
        }
        do {
            _ = try await loading.model
            counts.withLock { $0.loads += 1 }
        } catch is CancellationError {
            counts.withLock { $0.cancelled += 1 }
        }
        try await canceller.value
    }

    private static func generateAndCancel(
        _ model: LanguageModel, _ random: inout Random, _ counts: Counts
    ) async throws {
        // One in eight is left alone.
        let delay: UInt64? = random.next(upTo: 8) == 0 ? nil : random.next(upTo: 2_000)
        let task = Task {
            try await model.generate(GenerationTests.france, parameters: .init(maxTokens: 3))
        }
        let canceller = Task {
            guard let delay else { return }
            try await Task.sleep(for: .microseconds(delay))
            task.cancel()
        }
        do {
            _ = try await task.value
            counts.withLock { $0.generations += 1 }
        } catch is CancellationError {
            counts.withLock { $0.cancelled += 1 }
        }
        try await canceller.value
    }
}

/// A small generator with a seed (SplitMix64), so that a failing run can be repeated.
struct Random: Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next(upTo bound: UInt64) -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return (z ^ (z >> 31)) % bound
    }
}
