import Foundation

/// A model that needs no files and no memory and answers with given text, for tests and previews.
///
/// ```swift
/// let standIn = StandInModel { messages in "You said: " + (messages.last?.content ?? "") }
/// let session = ChatSession(standIn.model)
/// print(try await session.respond(to: "Hello"))
/// ```
///
/// Everything around it is real: sessions, streams, cancelling, phases of a load. It answers word by word, each of which
/// counts as a token, and observes ``GenerateParameters/maxTokens``, ``GenerateParameters/maxContext``,
/// ``GenerateParameters/stop`` and ``GenerateParameters/logprobs`` of the parameters. Its tokenizer has a token for each
/// Unicode scalar.
public final class StandInModel: Sendable {
    /// Answers messages; text without a chat is a message of the user.
    public typealias Answer = @Sendable ([ChatMessage]) -> String

    private let name: String
    private let contextLength: Int
    private let pace: Duration
    private let loadTime: Duration
    private let failure: EngineError?
    private let answer: Answer

    /// A model that answers as `answer` does.
    ///
    /// - Parameters:
    ///   - name: Its name.
    ///   - contextLength: How many Unicode scalars its context holds.
    ///   - pace: The time that a word takes.
    ///   - loadTime: The time that a load of a ``ModelConfiguration/Source/standIn(_:)`` takes.
    ///   - loadFailure: The error of a load, which comes while weights are loaded.
    ///   - answer: What it answers.
    public init(
        name: String = "stand-in", contextLength: Int = 1 << 16, pace: Duration = .zero, loadTime: Duration = .zero,
        loadFailure: EngineError? = nil, answer: @escaping Answer
    ) {
        (self.name, self.contextLength, self.pace) = (name, contextLength, pace)
        (self.loadTime, failure, self.answer) = (loadTime, loadFailure, answer)
    }

    /// A model that always says the same.
    public convenience init(_ text: String, pace: Duration = .zero) {
        self.init(pace: pace) { _ in text }
    }

    /// The model. Each access gives another one with the same answers.
    public var model: LanguageModel {
        LanguageModel(self)
    }

    var info: ModelInfo {
        ModelInfo(
            name: name, directory: "", modelType: "stand-in", parameters: 0, quantization: nil,
            contextLength: contextLength, vocabularySize: Int(Tokenizer.scalars), weightBytes: 0, hasChatTemplate: true,
            chatTemplateError: nil, eosTokens: [], device: "cpu", loadSeconds: 0)
    }

    // MARK: - Loading

    func load(slot: TaskSlot, _ observer: LoadObserver) {
        Task {
            let start = ContinuousClock.now
            do {
                let model = try await load(slot: slot) { phase, done, progress in
                    let elapsed = ContinuousClock.now - start
                    observer.update(
                        LoadingUpdate(
                            phase: phase, description: phase.description, estimatedProgress: done, progress: progress,
                            memoryInUse: 0, elapsed: elapsed / .seconds(1)))
                }
                observer.end(.success(model))
            } catch {
                observer.end(.failure(error))
            }
        }
    }

    private func load(
        slot: TaskSlot, _ tell: (LoadingPhase, Double, ModelProgress?) -> Void
    ) async throws -> LanguageModel {
        func wait(_ share: Double) async throws {
            if loadTime > .zero {
                try await Task.sleep(for: loadTime * share)
            }
            if slot.isCancelled { throw CancellationError() }
        }
        tell(.readingConfig, 0.01, nil)
        try await wait(0.1)
        let (file, steps) = ("model.safetensors", 20)
        for step in 0...steps {
            let progress = ModelProgress(reading: file, done: UInt64(step), of: UInt64(steps))
            tell(
                .loadingWeights(file: file, fileIndex: 1, totalFiles: 1), 0.5 + 0.35 * progress.fractionCompleted,
                progress)
            if step == steps / 2, let failure {
                let reason = EngineError(
                    failure.code, failure.message, summary: failure.summary, phase: "loadingWeights",
                    sentence: "Loading failed while loading the weights: \(failure.summary)")
                tell(.failed(reason), 0, nil)
                throw reason
            }
            try await wait(0.7 / Double(steps + 1))
        }
        tell(.loadingTokenizer, 0.88, nil)
        try await wait(0.1)
        tell(.initializingModel, 0.95, nil)
        try await wait(0.1)
        tell(.ready, 1, nil)
        return model
    }

    // MARK: - Generating

    func generate(_ input: ModelInput, parameters: GenerateParameters, slot: TaskSlot, _ observer: GenerationObserver) {
        Task {
            observer.end(await Result { try await generate(input, parameters, slot, observer) })
        }
    }

    private func generate(
        _ input: ModelInput, _ parameters: GenerateParameters, _ slot: TaskSlot, _ observer: GenerationObserver
    ) async throws -> GenerateCompletionInfo {
        let start = ContinuousClock.now
        func seconds() -> Double { (ContinuousClock.now - start) / .seconds(1) }
        let prompt = try model.tokens(of: input)
        let limit = parameters.maxContext ?? contextLength
        guard !prompt.isEmpty else { throw EngineError(.invalidArgument, "the prompt has no tokens") }
        guard prompt.count <= limit else {
            throw EngineError(.contextFull, "the prompt has \(prompt.count) tokens, the context holds \(limit)")
        }
        observer.hear(.prefill(processed: prompt.count, total: prompt.count))
        var (text, isCut) = (answer(try messages(of: input)), false)
        if let end = parameters.stop.compactMap({ text.range(of: $0)?.lowerBound }).min() {
            (text, isCut) = (String(text[..<end]), true)
        }
        var (reason, count, first) = (isCut ? GenerateStopReason.stopText : .stop, 0, Double?.none)
        for word in Self.words(text) {
            if pace > .zero {
                try? await Task.sleep(for: pace)
            }
            if slot.isCancelled {
                reason = .cancelled
                break
            }
            if count == parameters.maxTokens {
                reason = .length
                break
            }
            if prompt.count + count >= limit {
                reason = .contextFull
                break
            }
            count += 1
            first = first ?? seconds()
            let logprob: Float? = parameters.logprobs == nil ? nil : 0
            observer.hear(
                .token(GeneratedToken(id: word.unicodeScalars.first?.value ?? 0, text: word, logprob: logprob, top: []))
            )
        }
        let (took, promptTime) = (seconds(), first ?? seconds())
        return GenerateCompletionInfo(
            promptTokenCount: prompt.count, generationTokenCount: count, queueTime: 0, promptTime: promptTime,
            generateTime: took - promptTime, timeToFirstToken: first,
            promptTokensPerSecond: Double(prompt.count) / max(promptTime, 1e-9),
            tokensPerSecond: Double(count) / max(took, 1e-9), peakMemory: 0, seed: parameters.seed ?? 0,
            stopReason: reason, proposedTokenCount: 0, acceptedTokenCount: 0, reusedTokenCount: 0, matchedTokenCount: 0,
            reuseEnd: .disabled)
    }

    private func messages(of input: ModelInput) throws -> [ChatMessage] {
        switch input {
        case .chat(let messages, _): messages
        case .text(let text): [.user(text)]
        case .tokens(let tokens): [.user(try model.tokenizer.decode(tokens))]
        }
    }

    /// The words of a text, each with what follows it up to the next one. Together they are the text.
    static func words(_ text: String) -> [String] {
        var words: [String] = []
        for character in text {
            if let last = words.last, !(last.last?.isWhitespace == true && !character.isWhitespace) {
                words[words.count - 1].append(character)
            } else {
                words.append(String(character))
            }
        }
        return words
    }
}

/// By identity: two with the same answers are different.
extension StandInModel: Hashable {
    public static func == (one: StandInModel, other: StandInModel) -> Bool {
        one === other
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(ObjectIdentifier(self))
    }
}

extension ModelProgress {
    fileprivate init(reading file: String, done: UInt64, of total: UInt64) {
        self.init(
            stage: .reading, file: file, fileIndex: 1, totalFiles: 1, fileBytesDone: 0, fileBytesTotal: 0,
            bytesDone: done, bytesTotal: total, bytesPerSecond: 0, remaining: nil, retry: nil, isPaused: false,
            waitingFor: nil)
    }
}

extension Result where Failure == any Error {
    init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
