import Foundation
import Testing

@testable import MLXEngine

@Suite struct LoadingTests {
    static let cold: [LoadingPhase] = [
        .readingConfig, .loadingWeights(file: "model.safetensors", fileIndex: 1, totalFiles: 1),
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
        #expect(updates.values.first?.description == "Reading configuration")

        #expect(model.info.name == "tiny-qwen3" && model.info.directory.hasSuffix("/tiny-qwen3"))
        #expect(model.info.modelType == "qwen3")
        #expect(model.info.quantization == .init(mode: "affine", bits: 4, groupSize: 64))
        #expect(model.info.contextLength == 2048 && model.info.vocabularySize == 2048)
        #expect(model.info.parameters > 4_000_000 && model.info.hasChatTemplate)
        #expect(try model.configuration().contains("\"model_type\""))
    }

    @Test func aSequenceOfPhasesEndsInTheModel() async throws {
        let loading = LanguageModel.loading(directory: Fixtures.tiny)
        var updates: [LoadingUpdate] = []
        for try await update in loading {
            updates.append(update)
        }
        #expect(Self.phases(updates) == Self.cold)
        #expect(updates.last?.isTerminal == true && updates.last?.estimatedProgress == 1)
        #expect(try await loading.model.info.modelType == "qwen3")
        // Asked for again, and without iterating.
        let (one, other) = (try await loading.model, try await loading.model)
        #expect(one === other)
        #expect(loading.progress.completedUnitCount == 1000 && loading.progress.isFinished)
        #expect(try await LanguageModel.loading(directory: Fixtures.tiny).model.info.modelType == "qwen3")
    }

    /// The phases of updates, each once.
    static func phases(_ updates: [LoadingUpdate]) -> [LoadingPhase] {
        updates.map(\.phase).reduce(into: []) { if $0.last != $1 { $0.append($1) } }
    }

    @Test func theSequenceMovesWithinAFile() async throws {
        let standIn = StandInModel(loadTime: .milliseconds(600)) { _ in "" }
        var updates: [LoadingUpdate] = []
        for try await update in LanguageModel.loading(ModelConfiguration(standIn: standIn)) {
            updates.append(update)
        }
        let reading = updates.filter { if case .loadingWeights = $0.phase { true } else { false } }
        #expect(Set(reading.map(\.estimatedProgress)).count > 3)
        #expect(reading.last?.progress?.fractionCompleted == 1)
        let bytes = reading.compactMap { $0.progress?.bytesDone }
        #expect(bytes == bytes.sorted() && Self.phases(updates) == Self.cold)
        // A loop that is late gets the latest of each phase, and every phase.
        let late = LanguageModel.loading(ModelConfiguration(standIn: standIn))
        _ = try await late.model
        var rest: [LoadingUpdate] = []
        for try await update in late {
            rest.append(update)
        }
        #expect(rest.map(\.phase) == Self.cold && rest[1].progress?.fractionCompleted == 1)
    }

    @Test func updatesComeAsOftenAsAScreenCanShowThem() {
        func update(_ milliseconds: Int, _ done: UInt64, file: Int = 1, retry: ModelProgress.Retry? = nil)
            -> LoadingUpdate
        {
            let progress = ModelProgress(
                stage: .reading, file: "\(file)", fileIndex: file, totalFiles: 2, fileBytesDone: 0, fileBytesTotal: 0,
                bytesDone: done, bytesTotal: 1000, bytesPerSecond: 0, remaining: nil, retry: retry, isPaused: false,
                waitingFor: nil)
            return LoadingUpdate(
                phase: .loadingWeights(file: "\(file)", fileIndex: file, totalFiles: 2), description: "",
                estimatedProgress: 0, progress: progress, memoryInUse: 0, elapsed: Double(milliseconds) / 1000)
        }
        var rate = ScreenRate()
        let many = (0..<1000).filter { rate.shows(update($0, UInt64($0))) }
        #expect(many.count > 20 && many.count <= 31 && many.first == 0)
        // What a person has to be told is never left out: the end, another file, a retry.
        let retry = ModelProgress.Retry(attempt: 1, limit: 5, wait: 1, reason: "HTTP 503")
        let told = [
            update(1000, 1000), update(1000, 1000), update(1000, 1000, file: 2),
            update(1001, 1000, file: 2, retry: retry), update(1002, 1000, file: 2, retry: retry),
            update(1003, 1000, file: 2),
        ].map { rate.shows($0) }
        #expect(told == [true, false, true, true, false, true])
    }

    @Test func aSequenceIsReadOnce() async throws {
        let loading = LanguageModel.loading(directory: Fixtures.tiny)
        for try await update in loading where update.phase == .loadingTokenizer { break }
        // Leaving the loop is not giving up the model.
        #expect(try await loading.model.info.modelType == "qwen3")
        let error = await engineError { for try await _ in loading {} }
        #expect(error?.code == .invalidArgument)
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
            #expect(phases.values[0] == .readingConfig)
            guard case .failed(let failure) = phases.values[1] else {
                Issue.record("the last phase is \(phases.values[1])")
                return
            }
            #expect(failure.phase == "readingConfig" && failure == error)
            #expect(failure.localizedDescription.hasPrefix("Loading failed while reading the configuration: "))
            #expect(phases.values[1].description == failure.localizedDescription)
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
                for try await update in loading {
                    phases.append(update.phase)
                }
            }
            #expect(error?.code == .invalidWeights && error?.message.contains("model.safetensors") == true)
            #expect(error?.phase == "loadingWeights" && phases.last == error.map { .failed($0) })
            #expect(phases.first == .readingConfig && phases.dropLast().allSatisfy { !$0.isTerminal })
            #expect(await engineError { try await loading.model } == error)
        }
    }

    @Test func aLongFailureHasAShortText() async throws {
        try await Fixtures.withCopy { copy in
            let config = copy.appending(path: "config.json")
            var json = try JSONDecoder().decode(JSONValue.self, from: Data(contentsOf: config))
            guard case .object(var object) = json else { return }
            object["intermediate_size"] = 64
            json = .object(object)
            try JSONEncoder().encode(json).write(to: config)
        } _: { copy in
            let error = try #require(await engineError { try await LanguageModel.load(directory: copy) })
            #expect(error.code == .invalidWeights && error.phase == "loadingWeights")
            #expect(error.message.contains("; ") && error.message.hasPrefix(error.summary))
            #expect(error.summary.count <= 201 && error.summary.count * 3 < error.message.count)
            #expect(error.localizedDescription == "Loading failed while loading the weights: " + error.summary)
            #expect(error.failureReason == error.message)
        }
    }

    @Test func aBrokenChatTemplateIsSaidAtLoad() async throws {
        #expect(try await Fixtures.model().info.chatTemplateError == nil)
        try await Fixtures.withCopy { copy in
            try Data("{% for message in messages %}".utf8).write(to: copy.appending(path: "chat_template.jinja"))
        } _: { copy in
            let model = try await LanguageModel.load(directory: copy)
            #expect(model.info.chatTemplateError?.isEmpty == false)
            let error = await engineError { try await ChatSession(model).respond(to: "Hello") }
            #expect(error?.code == .template)
            #expect(try await model.generate("Once", parameters: .init(maxTokens: 2)).info.generationTokenCount == 2)
        }
    }

    @Test func onlyFilesAreRead() async throws {
        let page = try #require(URL(string: "https://example.com/model"))
        let all: [() async throws -> Any] = [
            { try await LanguageModel.load(directory: page) },
            { try Tokenizer(directory: page) },
            { try ModelHub(directory: page) },
            {
                try await LanguageModel.load(
                    ModelConfiguration(directory: Fixtures.tiny, options: LoadOptions(tokenizerDirectory: page)))
            },
        ]
        for call in all {
            let error = await engineError { try await call() }
            #expect(error?.code == .invalidArgument && error?.message.contains("https://example.com/model") == true)
        }
        // Refused before it began, a load still ends for those who watch it.
        let phases = Collected<LoadingPhase>()
        let error = await engineError { try await LanguageModel.load(directory: page) { phases.append($0) } }
        #expect(phases.values == [error.map { .failed($0) }])
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
                    #expect(failure.message.contains("/nowhere/\(number)"))
                } else {
                    #expect(phases == Self.cold && outcome == "tiny-qwen3")
                }
            }
            #expect(seen == 8)
        }
    }

    @Test(arguments: ["readingConfig", "loadingWeights", "loadingTokenizer", "initializingModel"])
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
        #expect(phases.values.last == .cancelled && phases.values.filter(\.isTerminal).count == 1)
        #expect(phases.values.dropLast().last == Self.phase(name))
    }

    static func phase(_ name: String) -> LoadingPhase {
        switch name {
        case "readingConfig": .readingConfig
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
        #expect(phases.values == [.cancelled])
    }

    @Test func cancellingTheLoopsTaskEndsTheSequenceAsCancelled() async throws {
        let updates = Collected<LoadingUpdate>()
        let standIn = StandInModel(loadTime: .seconds(60)) { _ in "" }
        let loading = LanguageModel.loading(ModelConfiguration(standIn: standIn))
        let task = Task {
            for try await update in loading {
                updates.append(update)
                withUnsafeCurrentTask { $0?.cancel() }
            }
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(updates.values.map(\.phase) == [.readingConfig, .cancelled])
        await #expect(throws: CancellationError.self) { try await loading.model }
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
        let error = EngineError(.tokenizer, "no tokenizer.json")
        let phases: [(LoadingPhase, String, Double)] = [
            (.readingConfig, "Reading configuration", 0.01),
            (.downloadingConfig, "Downloading configuration", 0.01),
            (
                .downloadingWeights(file: "a", fileIndex: 2, totalFiles: 2, progress: 0.5),
                "Downloading a (2/2) - 50%", 0.3775
            ),
            (.loadingWeights(file: "a", fileIndex: 1, totalFiles: 2), "Loading weights from a (1/2)", 0.675),
            (.loadingTokenizer, "Loading tokenizer", 0.88),
            (.initializingModel, "Initializing model", 0.95),
            (.ready, "Ready", 1),
            (.failed(error), "no tokenizer.json", 0),
            (.cancelled, "Cancelled", 0),
        ]
        for (phase, description, progress) in phases {
            #expect(phase.description == description)
            #expect(abs(phase.estimatedProgress - progress) < 1e-9)
        }
        #expect(phases.map(\.0.isTerminal) == [false, false, false, false, false, false, true, true, true])
        // Nonsense from outside stays within bounds.
        let odd = LoadingPhase.downloadingWeights(file: "", fileIndex: 9, totalFiles: 0, progress: .infinity)
        #expect((0...1).contains(odd.estimatedProgress) && odd.description.hasSuffix("100%"))
        #expect(error == EngineError(.tokenizer, "no tokenizer.json"))
        #expect(LoadingPhase.failed(error) != .ready)
    }
}
