import Foundation
import Testing

@testable import MLXEngine

@Suite struct LoadingTests {
    static let cold: [LoadingPhase] = [
        .downloadingConfig, .loadingWeights(file: "model.safetensors", fileIndex: 1, totalFiles: 1),
        .loadingTokenizer, .initializingModel, .ready,
    ]

    @Test func phasesOfAColdLoadComeInOrder() async throws {
        let phases = Collected<LoadingPhase>()
        let updates = Collected<LoadingUpdate>()
        let model = try await LanguageModel.load(
            ModelConfiguration(directory: Fixtures.tiny), phaseHandler: { phases.append($0) },
            updateHandler: { updates.append($0) })
        #expect(phases.values == Self.cold)
        let progress = phases.values.map(\.estimatedProgress)
        #expect(progress == progress.sorted() && progress.first == 0.01 && progress.last == 1)
        let fine = updates.values.map(\.estimatedProgress)
        #expect(fine == fine.sorted() && fine.last == 1)
        #expect(updates.values.contains { $0.progress?.stage == .reading && $0.progress?.fractionCompleted == 1 })
        #expect(updates.values.allSatisfy { $0.elapsed >= 0 })

        #expect(model.info.name.hasSuffix("tiny-qwen3") && model.info.modelType == "qwen3")
        #expect(model.info.quantization == .init(mode: "affine", bits: 4, groupSize: 64))
        #expect(model.info.contextLength == 2048 && model.info.vocabularySize == 2048)
        #expect(model.info.parameters > 4_000_000 && model.info.hasChatTemplate)
        #expect(try model.configuration().contains("\"model_type\""))
    }

    @Test func aSequenceOfPhasesEndsInTheModel() async throws {
        let loading = LanguageModel.loading(directory: Fixtures.tiny)
        var phases: [LoadingPhase] = []
        for try await phase in loading {
            phases.append(phase)
        }
        #expect(phases == Self.cold)
        #expect(try await loading.model.info.modelType == "qwen3")
        // Asked for again, and without iterating.
        let (one, other) = (try await loading.model, try await loading.model)
        #expect(one === other)
        #expect(loading.progress.completedUnitCount == 1000 && loading.progress.isFinished)
        #expect(try await LanguageModel.loading(directory: Fixtures.tiny).model.info.modelType == "qwen3")
    }

    @Test func anUnknownModelTypeFailsBeforeWeightsAreRead() async throws {
        try await Fixtures.withCopy { copy in
            try Data(#"{"model_type": "nonsense"}"#.utf8).write(to: copy.appending(path: "config.json"))
        } _: { copy in
            let phases = Collected<LoadingPhase>()
            let error = await engineError {
                try await LanguageModel.load(directory: copy) { phases.append($0) }
            }
            #expect(error?.code == .unsupportedModel && error?.message.contains("nonsense") == true)
            try #require(phases.values.count == 2)
            #expect(phases.values[0] == .downloadingConfig)
            guard case .failed(let failure) = phases.values[1] else {
                Issue.record("the last phase is \(phases.values[1])")
                return
            }
            #expect(failure.phase == "downloadingConfig" && failure.code == .unsupportedModel)
            #expect(failure.underlyingError == error?.message)
            #expect(failure.localizedDescription.hasPrefix("Loading failed during downloadingConfig: "))
            #expect(phases.values[1].estimatedProgress == 0 && phases.values[1].isTerminal)
        }
    }

    @Test func truncatedWeightsFailWhileWeightsAreLoaded() async throws {
        try await Fixtures.withCopy { copy in
            let weights = copy.appending(path: "model.safetensors")
            try Data(contentsOf: weights).prefix(1_000_000).write(to: weights)
        } _: { copy in
            let loading = LanguageModel.loading(directory: copy)
            var phases: [LoadingPhase] = []
            let error = await engineError {
                for try await phase in loading {
                    phases.append(phase)
                }
            }
            #expect(error?.code == .invalidWeights && error?.message.contains("model.safetensors") == true)
            #expect(phases.first == .downloadingConfig && phases.last?.isTerminal == true)
            #expect(phases.dropLast().allSatisfy { !$0.isTerminal })
            await #expect(throws: EngineError.self) { try await loading.model }
        }
    }

    @Test func aMissingDirectoryIsNamed() async throws {
        let error = await engineError {
            try await LanguageModel.load(directory: URL(filePath: "/nowhere/at/all"))
        }
        #expect(error?.code == .notFound && error?.message.contains("/nowhere/at/all") == true)
        let other = await engineError {
            try await LanguageModel.load(id: "nobody/nothing", revision: "main")
        }
        #expect(other?.message.contains("nobody/nothing") == true)
    }

    @Test func eightLoadsAtOnceEachWithItsOwnHandler() async throws {
        try await withThrowingTaskGroup(of: (Int, [LoadingPhase], String).self) { group in
            for number in 0..<8 {
                group.addTask {
                    let engine = number.isMultiple(of: 2) ? try Engine.shared() : try Engine(device: .cpu)
                    let phases = Collected<LoadingPhase>()
                    // Every other one fails, so that no handler hears of another's load.
                    let fails = number % 4 == 3
                    let folder = fails ? URL(filePath: "/nowhere/\(number)") : Fixtures.tiny
                    do {
                        let model = try await LanguageModel.load(directory: folder, engine: engine) {
                            phases.append($0)
                        }
                        return (number, phases.values, model.info.name)
                    } catch let error as EngineError {
                        return (number, phases.values, error.message)
                    }
                }
            }
            var seen = 0
            for try await (number, phases, outcome) in group {
                seen += 1
                if number % 4 == 3 {
                    #expect(outcome.contains("/nowhere/\(number)"))
                    guard case .failed(let failure) = phases.last else {
                        Issue.record("\(number): \(phases)")
                        continue
                    }
                    #expect(failure.underlyingError.contains("/nowhere/\(number)"))
                } else {
                    #expect(phases == Self.cold && outcome.hasSuffix("tiny-qwen3"))
                }
            }
            #expect(seen == 8)
        }
    }

    @Test(arguments: ["downloadingConfig", "loadingWeights", "loadingTokenizer", "initializingModel"])
    func cancellingTheTaskInAnyPhaseCancelsTheLoad(_ name: String) async throws {
        let phases = Collected<LoadingPhase>()
        let task = Locked<Task<LanguageModel, any Error>?>(nil)
        let (mayBegin, begin) = AsyncStream.makeStream(of: Void.self)
        let load = Task {
            for await _ in mayBegin { break }
            return try await LanguageModel.load(directory: Fixtures.tiny) { phase in
                phases.append(phase)
                if "\(phase)" == "\(Self.phase(name))" {
                    task.withLock { $0 }?.cancel()
                }
            }
        }
        task.withLock { $0 = load }
        begin.finish()
        await #expect(throws: CancellationError.self) { try await load.value }
        guard case .failed(let failure) = phases.values.last else {
            Issue.record("the last phase is \(String(describing: phases.values.last))")
            return
        }
        #expect(failure.code == .cancelled && failure.phase == name)
    }

    static func phase(_ name: String) -> LoadingPhase {
        switch name {
        case "downloadingConfig": .downloadingConfig
        case "loadingWeights": .loadingWeights(file: "model.safetensors", fileIndex: 1, totalFiles: 1)
        case "loadingTokenizer": .loadingTokenizer
        default: .initializingModel
        }
    }

    @Test func aTaskThatIsCancelledBeforehandLoadsNothing() async throws {
        let phases = Collected<LoadingPhase>()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await LanguageModel.load(directory: Fixtures.tiny) { phases.append($0) }
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(phases.values.isEmpty)
    }

    @Test func cancellingASequenceOrItsProgressCancelsTheLoad() async throws {
        for cancel in [{ $0.cancel() }, { $0.progress.cancel() }] as [@Sendable (ModelLoading) -> Void] {
            let loading = LanguageModel.loading(directory: Fixtures.tiny)
            cancel(loading)
            await #expect(throws: CancellationError.self) { try await loading.model }
        }
    }

    @Test func aLoadNobodyHoldsIsCancelled() async throws {
        let last = Collected<LoadingPhase>()
        // Two loads on one engine take turns, so the second is far from done when the first phase arrives.
        let engine = try Engine(device: .cpu)
        let busy = Task { try await LanguageModel.load(directory: Fixtures.tiny, engine: engine) }
        do {
            _ = LanguageModel.loading(ModelConfiguration(directory: Fixtures.tiny), engine: engine)
        }
        _ = try await busy.value
        // The engine still works, and nothing of the other load is heard.
        _ = try await LanguageModel.load(directory: Fixtures.tiny, engine: engine) { last.append($0) }
        #expect(last.values == Self.cold)
    }

    @Test func phasesDescribeThemselves() {
        let error = LoadingError(phase: "loadingTokenizer", error: EngineError(.tokenizer, "no tokenizer.json"))
        let phases: [(LoadingPhase, String, Double)] = [
            (.downloadingConfig, "Downloading configuration", 0.01),
            (
                .downloadingWeights(file: "a", fileIndex: 2, totalFiles: 2, progress: 0.5),
                "Downloading a (2/2) - 50%", 0.3775
            ),
            (.loadingWeights(file: "a", fileIndex: 1, totalFiles: 2), "Loading weights from a (1/2)", 0.675),
            (.loadingTokenizer, "Loading tokenizer", 0.88),
            (.initializingModel, "Initializing model", 0.95),
            (.ready, "Ready", 1),
            (.failed(error), "Failed: Loading failed during loadingTokenizer: no tokenizer.json", 0),
        ]
        for (phase, description, progress) in phases {
            #expect(phase.description == description)
            #expect(abs(phase.estimatedProgress - progress) < 1e-9)
        }
        #expect(phases.map(\.0.isTerminal) == [false, false, false, false, false, true, true])
        // Nonsense from outside stays within bounds.
        let odd = LoadingPhase.downloadingWeights(file: "", fileIndex: 9, totalFiles: 0, progress: .infinity)
        #expect((0...1).contains(odd.estimatedProgress) && odd.description.hasSuffix("100%"))
        #expect(error == LoadingError(phase: "loadingTokenizer", error: EngineError(.tokenizer, "no tokenizer.json")))
        #expect(LoadingPhase.failed(error) != .ready)
    }
}
