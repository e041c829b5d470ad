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
