import Foundation
import Testing

@testable import MLXEngine

@Suite struct TokenizerTests {
    @Test func textGoesThereAndBack() async throws {
        let tokenizer = try Tokenizer(directory: Fixtures.tiny)
        for text in ["", "Hello", "naïve 日本 👩‍👩‍👧 e\u{301}", "a\0b", "<|im_end|>"] {
            #expect(try tokenizer.decode(tokenizer.encode(text)) == text)
        }
        #expect(tokenizer.vocabularySize == 2048 && tokenizer.hasChatTemplate)
        let eos = tokenizer.eosTokens
        #expect(try tokenizer.decode(eos, skipSpecialTokens: true).isEmpty && !eos.isEmpty)
        // It may outlive its model.
        let other = try await LanguageModel.load(directory: Fixtures.tiny).tokenizer
        #expect(try other.encode("Hello") == tokenizer.encode("Hello"))
    }

    @Test func messagesBecomeAPrompt() async throws {
        let tokenizer = try Tokenizer(directory: Fixtures.tiny)
        let prompt = try tokenizer.applyChatTemplate([.system("Be \"brief\"."), .user("Hi")])
        #expect(
            prompt == """
                <|im_start|>system
                Be "brief".<|im_end|>
                <|im_start|>user
                Hi<|im_end|>
                <|im_start|>assistant

                """)
        let quiet = try tokenizer.applyChatTemplate(
            [.user("Hi")], options: .init(variables: ["enable_thinking": false]))
        #expect(quiet.hasSuffix("<think>\n\n</think>\n\n"))
        let called = try tokenizer.applyChatTemplate(
            [
                .user("Hi"),
                .assistant("", toolCalls: [.init(name: "f", arguments: ["x": 1, "y": [1.5, nil, true, "z"]])]),
            ], options: .init(addGenerationPrompt: false))
        #expect(called.contains(#""name": "f""#) && called.contains("1.5"))
        let error = await engineError {
            try tokenizer.applyChatTemplate([.user("Hi")], options: .init(template: "{{ broken"))
        }
        #expect(error?.code == .template)
    }
}

@Suite struct TokenTests {
    @Test func tokensAreFoundByNameAndByRole() throws {
        let tokenizer = try Tokenizer(directory: Fixtures.tiny)
        let end = try #require(tokenizer.token("<|im_end|>"))
        #expect(tokenizer.token(role: "eos_token") == end && tokenizer.token("no such token") == nil)
        #expect(tokenizer.token(role: "image_token") == nil)
        let special = try tokenizer.specialTokens()
        #expect(special.contains(end) && special == special.sorted())
        let hello = try tokenizer.encode("Hello")
        #expect(try hello.flatMap { try tokenizer.bytes(of: $0) } == Array("Hello".utf8))
        #expect(throws: EngineError.self) { try tokenizer.bytes(of: 1 << 30) }
    }

    @Test func specialTokensOfUsersAreText() throws {
        let tokenizer = try Tokenizer(directory: Fixtures.tiny)
        let end = try #require(tokenizer.token("<|im_end|>"))
        let text = "a<|im_end|>b"
        #expect(try tokenizer.encode(text).contains(end))
        let plain = try tokenizer.encode(text, specialTokensAsText: true)
        #expect(try !plain.contains(end) && tokenizer.decode(plain) == text)
        let count = { (messages: [ChatMessage]) in try tokenizer.encodeChat(messages).filter { $0 == end }.count }
        #expect(try count([.user(text)]) == count([.user("ab")]))
        #expect(
            try tokenizer.encodeChat([.user("Hi")])
                == tokenizer.encode(tokenizer.applyChatTemplate([.user("Hi")]), addSpecialTokens: false))
    }
}

@Suite struct ScoreTests {
    @Test func whatTheModelSaysIsLikely() async throws {
        let model = try await Fixtures.model()
        let prompt = try model.tokenizer.encode("Once upon a time")
        let parameters = GenerateParameters(maxTokens: 8, temperature: 0)
        let answer = try await model.generate(.tokens(prompt), parameters: parameters)
        let tokens = try model.tokenizer.encode(answer.text, addSpecialTokens: false)
        let scores = try await model.score(tokens, after: prompt)
        #expect(scores.logprobs.count == tokens.count && scores.mostLikely.first == tokens.first)
        #expect(abs(scores.total - scores.logprobs.reduce(0) { $0 + Double($1) }) < 1e-4)
        #expect(abs(scores.perplexity - exp(-scores.total / Double(tokens.count))) < 1e-6)
        let unlikely = try await model.score(Array(tokens.reversed()), after: prompt)
        #expect(unlikely.perplexity > scores.perplexity)
        #expect(try await model.score(" there", after: "Once").logprobs.count > 0)
    }

    @Test func whatCannotBeScoredIsAnError() async throws {
        let model = try await Fixtures.model()
        #expect(await engineError { try await model.score([], after: [1]) }?.code == .invalidArgument)
        #expect(await engineError { try await model.score([1 << 30], after: [1]) }?.code == .invalidArgument)
        let standIn = StandInModel("Hi").model
        #expect(await engineError { try await standIn.score([1], after: [1]) }?.code == .unsupportedModel)
        let task = Task {
            try? await Task.sleep(for: .seconds(60))
            return try await model.score([1], after: [1])
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}

@Suite struct JSONValueTests {
    @Test func valuesSurviveCoding() throws {
        let value: JSONValue = ["a": [1, 2.5, nil, true, "x", ["b": [:]]], "n": -3]
        let data = try JSONEncoder().encode(value)
        #expect(try JSONDecoder().decode(JSONValue.self, from: data) == value)
    }
}

@Suite struct MemoryTests {
    @Test func limitsAreSetAndRead() async throws {
        let model = try await Fixtures.model()
        let before = MLXMemory.snapshot()
        #expect(before.active > 2_000_000 && before.peak >= before.active)
        let limit = try #require(MLXProcess.options.memoryLimit)
        try MLXProcess.set(ProcessOptions(cacheLimit: 1 << 20, memoryLimit: limit - 4096))
        #expect(MLXProcess.options.cacheLimit == 1 << 20 && MLXProcess.options.memoryLimit == limit - 4096)
        try MLXProcess.set(ProcessOptions(memoryLimit: limit))
        #expect(MLXProcess.options.cacheLimit == 1 << 20 && MLXProcess.options.memoryLimit == limit)
        let threads = try #require(MLXProcess.options.cpuThreads)
        #expect(throws: EngineError.self) { try MLXProcess.set(ProcessOptions(cpuThreads: threads + 1)) }
        MLXMemory.clearCache()
        MLXMemory.resetPeak()
        _ = try await model.generate("Once", parameters: .init(maxTokens: 2))
        #expect(MLXMemory.snapshot().peak > 0 && MLXMemory.snapshot().cache <= 1 << 20)
    }
}

@Suite struct EngineTests {
    @Test func anEngineSaysWhatItIs() throws {
        #expect(["cpu", "gpu"].contains(try Engine.shared().device))
        #expect(try Engine(device: .cpu).device == "cpu")
        #expect(MLXEngineLibrary.version.split(separator: ".").count == 3)
        #expect(!MLXEngineLibrary.mlxVersion.isEmpty)
        #expect(try MLXEngineLibrary.supportedModelTypes().contains("qwen3"))
    }

    @Test func messagesOfTheLibraryArriveUntilTheHandlerIsGone() async throws {
        let heard = Collected<EngineLog.Message>()
        try EngineLog.setHandler(level: .debug) { heard.append($0) }
        _ = try await LanguageModel.load(directory: Fixtures.tiny)
        #expect(heard.values.contains { $0.text.contains("tiny-qwen3") && $0.target.hasPrefix("mlx_engine") })
        try EngineLog.removeHandler()
        let count = heard.values.count
        _ = try await LanguageModel.load(directory: Fixtures.tiny)
        #expect(heard.values.count == count)
    }
}

@Suite struct ModelLoaderTests {
    @Test @MainActor func aLoaderShowsPhasesAndKeepsTheModel() async throws {
        let loader = ModelLoader()
        #expect(loader.phase == nil && !loader.isLoading)
        let task = loader.load(ModelConfiguration(directory: Fixtures.tiny))
        #expect(loader.phase == .readingConfig && loader.status == "Reading configuration" && loader.isLoading)
        await task.value
        #expect(loader.phase == .ready && loader.estimatedProgress == 1 && loader.error == nil)
        #expect(loader.model?.info.modelType == "qwen3")
        loader.unload()
        #expect(loader.model == nil && loader.phase == nil)
    }

    @Test @MainActor func aFailureIsShown() async {
        let loader = ModelLoader()
        await loader.load(ModelConfiguration(directory: URL(filePath: "/nowhere"))).value
        #expect(loader.error?.code == .notFound && loader.error?.phase == "readingConfig")
        #expect(loader.phase == loader.error.map { .failed($0) } && loader.model == nil)
        #expect(loader.status == loader.error?.localizedDescription)
    }

    @Test @MainActor func cancellingAndLoadingAnotherLeaveNoTrace() async {
        let loader = ModelLoader()
        let first = loader.load(ModelConfiguration(directory: Fixtures.tiny))
        loader.cancel()
        #expect(loader.phase == nil)
        await first.value
        #expect(loader.phase == nil && loader.model == nil && loader.error == nil)
        let second = loader.load(ModelConfiguration(directory: URL(filePath: "/nowhere")))
        let third = loader.load(ModelConfiguration(directory: Fixtures.tiny))
        await second.value
        await third.value
        #expect(loader.phase == .ready && loader.error == nil)
    }

    @Test @MainActor func aLoaderNobodyHoldsStops() async {
        var loader: ModelLoader? = ModelLoader()
        weak var gone = loader
        let load = loader?.load(ModelConfiguration(directory: Fixtures.tiny))
        loader = nil
        #expect(gone == nil && load?.isCancelled == true)
        await load?.value
    }
}
