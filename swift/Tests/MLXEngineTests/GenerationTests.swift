import CMLXEngine
import Foundation
import Testing

@testable import MLXEngine

@Suite struct GenerationTests {
    static let france = ModelInput.chat([.user("What is the capital of France?")])

    @Test func aStreamIsTextAndThenStatistics() async throws {
        let model = try await Fixtures.model()
        var events: [Generation] = []
        for try await event in model.stream(Self.france) {
            events.append(event)
        }
        #expect(events.compactMap(\.chunk).joined() == "The capital of France is Paris.")
        #expect(events.compactMap(\.chunk).allSatisfy { !$0.isEmpty } && events.count > 3)
        let info = try #require(events.last?.info)
        #expect(events.compactMap(\.info).count == 1)
        #expect(info.stopReason == .stop && info.generationTokenCount >= events.count - 1)
        #expect(try model.tokens(of: Self.france).count == info.promptTokenCount)
        #expect(info.tokensPerSecond > 0 && info.promptTokensPerSecond > 0 && info.peakMemory > 0)
        #expect((info.timeToFirstToken ?? -1) > 0 && info.summary().contains("tokens/s"))
        #expect(try await model.generate(Self.france).text == "The capital of France is Paris.")
    }

    @Test func anUnloadedModelFreesItsMemoryAndEndsItsAnswers() async throws {
        let model = try await LanguageModel.load(directory: Fixtures.tiny)
        var endless = GenerateParameters(maxTokens: 100_000, maxContext: 200_000)
        endless.ignoreEOS = true
        let stream = model.stream(Self.france, parameters: endless)
        var iterator = stream.makeAsyncIterator()
        _ = try await iterator.next()
        #expect(try await model.unload() > 0)
        var last: GenerateCompletionInfo?
        while let event = try await iterator.next() {
            last = event.info ?? last
        }
        #expect(last?.stopReason == .cancelled)
        await #expect {
            try await model.generate(Self.france)
        } throws: {
            ($0 as? EngineError)?.code == .invalidArgument
        }
        #expect(try await model.unload() == 0)
        #expect(try model.tokenizer.encode("still there").count > 0)
    }

    @Test func timeEndsAnAnswer() async throws {
        let model = try await Fixtures.model()
        var endless = GenerateParameters(maxTokens: 100_000, maxContext: 200_000)
        endless.ignoreEOS = true
        endless.timeoutSeconds = 0.2
        let answer = try await model.generate(Self.france, parameters: endless)
        #expect(answer.info.stopReason == .timeout && answer.info.queueTime >= 0)
    }

    @Test func parametersArriveInTheCore() async throws {
        let model = try await Fixtures.model()
        let story = ModelInput.chat([.user("Tell me a story.")])
        let short = try await model.generate(story, parameters: .init(maxTokens: 5))
        #expect(short.info.stopReason == .length && short.info.generationTokenCount == 5)

        let stopped = try await model.generate(Self.france, parameters: .init(stop: ["nothing", " France"]))
        #expect(stopped.text == "The capital of" && stopped.info.stopReason == .stopText)

        let hot = GenerateParameters(maxTokens: 30, temperature: 2, topP: 0.95, topK: 200, minP: 0.001, seed: 7)
        let (first, second) = (
            try await model.generate(story, parameters: hot), try await model.generate(story, parameters: hot)
        )
        #expect(first.text == second.text && first.info.seed == 7)
        var other = hot
        other.seed = 8
        #expect(try await model.generate(story, parameters: other).text != first.text)

        let paris = try model.tokenizer.encode(" Paris", addSpecialTokens: false)
        let biased = try await model.generate(
            Self.france, parameters: .init(maxTokens: 20, logitBias: [paris[0]: -100]))
        #expect(!biased.text.contains("Paris"))
        let of = try model.tokenizer.encode(" of", addSpecialTokens: false)
        let ended = try await model.generate(Self.france, parameters: .init(extraEOSTokens: of))
        #expect(ended.text == "The capital" && ended.info.stopReason == .stop)

        let quantized = GenerateParameters(maxTokens: 8, maxContext: 500, kvBits: 8, prefillStepSize: 4)
        #expect(try await model.generate(Self.france, parameters: quantized).info.generationTokenCount == 8)
        let penalized = GenerateParameters(
            maxTokens: 8, repetitionPenalty: 1.3, repetitionContextSize: 64, presencePenalty: 0.5,
            frequencyPenalty: 0.5, maxKVSize: 128)
        #expect(try await model.generate(story, parameters: penalized).info.generationTokenCount == 8)
    }

    @Test func eventsSayWhichTokensThereWere() async throws {
        let model = try await Fixtures.model()
        var (text, tokens, prompt, info) = ("", [GeneratedToken](), 0, GenerateCompletionInfo?.none)
        for try await event in model.events(Self.france, parameters: .init(logprobs: 3)) {
            switch event {
            case .prefill(let processed, let total):
                #expect(processed <= total)
                prompt = total
            case .token(let token):
                tokens.append(token)
                text += token.text
            case .text(let held): text += held
            case .info(let end): info = end
            }
        }
        #expect(text == "The capital of France is Paris.")
        #expect(try tokens.map(\.id) == model.tokenizer.encode(text, addSpecialTokens: false))
        #expect(prompt == info?.promptTokenCount && tokens.count == info?.generationTokenCount)
        for token in tokens {
            #expect(token.top.count == 3 && token.top[0] == TokenLogprob(id: token.id, logprob: token.logprob ?? 1))
        }
        for try await event in model.events(Self.france, parameters: .init(maxTokens: 2)) {
            if case .token(let token) = event {
                #expect(token.logprob == nil && token.top.isEmpty)
            }
        }
        // Others wait for the end here, so this one must end with an error.
        let wrong = await engineError { for try await _ in model.events(Self.france, parameters: .init(topK: -1)) {} }
        #expect(wrong?.code == .invalidArgument)
    }

    @Test func allWaysOfChoosingArriveInTheCore() async throws {
        let model = try await Fixtures.model()
        let story = ModelInput.chat([.user("Tell me a story.")])
        let base = GenerateParameters(maxTokens: 40, ignoreEOS: true, temperature: 1.7, seed: 1)
        let plain = try await model.generate(story, parameters: base)
        #expect(plain.info.generationTokenCount == 40)
        let changes: [(inout GenerateParameters) -> Void] = [
            { $0.typicalP = 0.6 }, { $0.topNSigma = 1 }, { ($0.xtcProbability, $0.xtcThreshold) = (1, 0.05) },
            { $0.mirostatTau = 1 },
            { ($0.minP, $0.minTokensToKeep) = (0.9, 2) }, { ($0.presencePenalty, $0.presenceContextSize) = (3, 5) },
            { ($0.frequencyPenalty, $0.frequencyContextSize) = (3, 0) },
        ]
        for (index, change) in changes.enumerated() {
            var parameters = base
            change(&parameters)
            let text = try await model.generate(story, parameters: parameters).text
            #expect(text != plain.text, "change \(index)")
        }
        // Without a chat's template the likeliest text of this model repeats itself.
        let start = ModelInput.text("Tell me a story.")
        var parameters = GenerateParameters(maxTokens: 60, ignoreEOS: true, temperature: 0)
        let repeated = try await model.generate(start, parameters: parameters)
        (parameters.dryMultiplier, parameters.dryAllowedLength, parameters.drySequenceBreakers) = (50, 1, [])
        let varied = try await model.generate(start, parameters: parameters)
        #expect(varied.text != repeated.text)
    }

    @Test func wrongParametersAreRefusedByName() async throws {
        let model = try await Fixtures.model()
        let wrong: [(GenerateParameters, String)] = [
            (.init(maxTokens: -1), "max_tokens"), (.init(temperature: -1), "temperature"),
            (.init(topP: .nan), "top_p"), (.init(kvBits: 7), "kv_bits"), (.init(topK: -2), "top_k"),
            (.init(typicalP: 0), "typical_p"), (.init(drySequenceBreakers: [""]), "dry_sequence_breakers[0]"),
        ]
        for (parameters, name) in wrong {
            let error = await engineError {
                try await model.generate(Self.france, parameters: parameters)
            }
            #expect(
                error?.code == .invalidArgument && error?.message.contains(name) == true, "\(name): \(error as Any)")
        }
        let empty = await engineError { try await model.generate(.tokens([])) }
        #expect(empty?.code == .invalidArgument)
        let long = await engineError {
            try await model.generate(.tokens(Array(repeating: 5, count: 3000)))
        }
        #expect(long?.code == .contextFull)
    }

    @Test func leavingTheLoopOrCancellingEndsTheGeneration() async throws {
        let model = try await Fixtures.model()
        // The model never ends this by itself within the test.
        let endless = GenerateParameters(
            maxTokens: 1900,
            logitBias: Dictionary(
                uniqueKeysWithValues: model.info.eosTokens.map { ($0, -1000) }))
        let start = ContinuousClock.now
        for try await _ in model.stream(Self.france, parameters: endless) {
            break
        }
        let task = Task {
            try await model.generate(Self.france, parameters: endless)
        }
        try await Task.sleep(for: .milliseconds(30))
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }

        let (began, begin) = AsyncStream.makeStream(of: Void.self)
        let streaming = Task {
            var count = 0
            for try await event in model.stream(Self.france, parameters: endless) {
                count += event.chunk == nil ? 0 : 1
                begin.yield()
            }
            return (count, Task.isCancelled)
        }
        for await _ in began { break }
        streaming.cancel()
        let (count, wasCancelled) = try await streaming.value
        #expect(count < 1500 && wasCancelled)
        // All three are off the engine's thread: another answer comes at once.
        #expect(try await model.generate(Self.france).text.hasSuffix("Paris."))
        #expect(ContinuousClock.now - start < .seconds(60))
    }

    @Test func aModelLivesAsLongAsItsStream() async throws {
        var model: LanguageModel? = try await LanguageModel.load(directory: Fixtures.tiny)
        weak var gone = model
        let stream = model!.stream(Self.france)
        model = nil
        var text = ""
        for try await event in stream {
            text += event.chunk ?? ""
        }
        #expect(text.hasSuffix("Paris."))
        // Nothing keeps it after that.
        for _ in 0..<200 where gone != nil {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(gone == nil)
    }

    @Test func charactersOfManyTokensArriveWhole() async throws {
        let model = try await Fixtures.model()
        let rocket = try await model.generate(.chat([.user("Show me a rocket emoji.")]))
        #expect(rocket.text == "Here you are: 🚀")
        // After a repetition the model continues it: families joined by zero-width joiners, combining accents.
        for repeated in ["👩‍👩‍👧 e\u{301} 🇫🇮 ", "😀 日本 Tür "] {
            let prompt = String(repeating: repeated, count: 12)
            let parameters = GenerateParameters(maxTokens: 60)
            var chunks: [String] = []
            var info: GenerateCompletionInfo?
            for try await event in model.stream(.text(prompt), parameters: parameters) {
                chunks += event.chunk.map { [$0] } ?? []
                info = event.info ?? info
            }
            let text = chunks.joined()
            // Tokens that end within a character are held back, so there are fewer chunks than tokens.
            #expect(chunks.count < (info?.generationTokenCount ?? 0))
            #expect(text.contains(repeated))
            #expect(try await model.generate(.text(prompt), parameters: parameters).text == text)
        }
        // No chunk holds half of a character, but the last, which the limit may cut.
        var last = ""
        for try await event in model.stream(
            .text(String(repeating: "😀 日本 Tür ", count: 12)), parameters: .init(maxTokens: 60))
        {
            guard let chunk = event.chunk else { break }
            #expect(!last.unicodeScalars.contains("\u{fffd}"))
            last = chunk
        }
    }

    @Test func textOfAnEventIsCopiedAsItIs() async {
        let family = "👩‍👩‍👧e\u{301}\0🇫🇮"
        let heard = Collected<String>()
        let observer = GenerationObserver(onText: { heard.append($0) }, onDone: { _ in })
        let callbacks = observer.retainedCallbacks()
        for scalar in family.unicodeScalars {
            // Each scalar in its own event, as tokens may well bring them.
            withStr(String(scalar)) { str in
                var event = mlxe_generation_event_t()
                (event.kind, event.text, event.text_len) = (MLXE_GENERATION_TOKEN, str.data, str.len)
                #expect(callbacks.on_event(callbacks.user_data, &event) == MLXE_CONTINUE)
            }
        }
        callbacks.drop(callbacks.user_data)
        #expect(heard.values.joined() == family && heard.values.joined().count == 4)
    }

    @Test func manyGenerationsShareAnEngine() async throws {
        let model = try await Fixtures.model()
        let questions = [
            "What is the capital of France?": "Paris", "What is the capital of Finland?": "Helsinki",
            "What is the capital of Portugal?": "Lisbon",
        ]
        try await withThrowingTaskGroup(of: (String, String).self) { group in
            for _ in 0..<4 {
                for (question, answer) in questions {
                    group.addTask { (try await model.generate(.chat([.user(question)])).text, answer) }
                }
            }
            for try await (text, answer) in group {
                #expect(text.contains(answer))
            }
        }
    }
}
