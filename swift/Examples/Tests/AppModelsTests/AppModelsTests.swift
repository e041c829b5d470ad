import Foundation
import MLXEngine
import Testing

@testable import AppModels

let fixtures = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "tests/fixtures")
let tiny = ModelConfiguration(directory: fixtures.appending(path: "tiny-qwen3"))

@Suite @MainActor struct ChatViewModelTests {
    func chat() async -> ChatViewModel {
        var settings = ChatSettings()
        settings.temperature = 0
        let chat = ChatViewModel(settings: settings)
        await chat.open(tiny)
        return chat
    }

    @Test func aQuestionIsAnsweredInABubble() async throws {
        let chat = await chat()
        #expect(chat.loader.phase == .ready && !chat.canSend)
        chat.draft = "  What is the capital of France? "
        #expect(chat.canSend)
        let answer = try #require(chat.send())
        #expect(chat.isResponding && chat.draft.isEmpty && chat.bubbles.map(\.isUser) == [true, false])
        await answer.value
        #expect(chat.bubbles.map(\.text) == ["What is the capital of France?", "The capital of France is Paris."])
        #expect(chat.bubbles.allSatisfy { $0.state == .done } && !chat.isResponding)
        #expect(chat.statistics?.contains("tokens/s") == true)
    }

    @Test func stoppingKeepsWhatIsThere() async throws {
        let chat = await chat()
        chat.draft = "Tell me a long story about a penguin called Mireille."
        let answer = try #require(chat.send())
        while chat.bubbles[1].text.isEmpty { await Task.yield() }
        chat.stop()
        let text = chat.bubbles[1].text
        await answer.value
        #expect(chat.bubbles[1].state == .stopped && chat.bubbles[1].text == text && !chat.isResponding)
        chat.draft = "What is the capital of France?"
        await chat.send()?.value
        #expect(chat.bubbles.count == 4 && chat.bubbles[3].text.contains("Paris"))
    }

    @Test func aNewChatForgetsAndSettingsApply() async throws {
        let chat = await chat()
        chat.settings.instructions = "Answer in one word."
        chat.settings.maxTokens = 3
        #expect(MLXProcess.options.cacheLimit == 64 << 20)
        chat.startChat()
        chat.draft = "Tell me a story."
        await chat.send()?.value
        #expect(chat.statistics?.contains("answer: 3 tokens") == true)
        chat.startChat()
        #expect(chat.bubbles.isEmpty && chat.statistics == nil)
    }

    @Test func failuresAreShown() async {
        let chat = ChatViewModel()
        await chat.open(ModelConfiguration(directory: URL(filePath: "/nowhere")))
        #expect(chat.loader.error?.code == .notFound)
        chat.draft = "Hello"
        #expect(chat.send() == nil && !chat.canSend)
        let other = await self.chat()
        other.settings.topP = 9
        other.draft = "Hello"
        await other.send()?.value
        guard case .failed(let message) = other.bubbles.last?.state else {
            Issue.record("\(other.bubbles)")
            return
        }
        #expect(message.contains("top_p") && !other.isResponding)
    }

    @Test func settingsAreSaved() throws {
        let defaults = try #require(UserDefaults(suiteName: "mlx-engine-tests"))
        var settings = ChatSettings()
        settings.maxTokens = 17
        settings.save(in: defaults)
        #expect(ChatSettings.saved(in: defaults) == settings)
        defaults.removePersistentDomain(forName: "mlx-engine-tests")
        #expect(ChatSettings.saved(in: defaults) == ChatSettings())
    }
}

@Suite @MainActor struct ModelBrowserTests {
    @Test func modelsOfAFolderAreListed() async throws {
        let browser = ModelBrowserViewModel()
        await browser.scan(fixtures)
        let row = try #require(browser.rows.first { $0.name == "tiny-qwen3" })
        #expect(row.modelType == "qwen3" && row.bits == 4 && row.isSupported && row.fit == .fits && row.canLoad)
        #expect(row.weightBytes > 2_800_000 && row.size.contains("2.8"))
        browser.filter = "QWEN"
        #expect(browser.visibleRows.map(\.name) == ["tiny-qwen3"])
        browser.filter = "nothing like it"
        #expect(browser.visibleRows.isEmpty && browser.error == nil)
        await browser.scan(fixtures, available: 1 << 20)
        #expect(browser.rows.first?.canLoad == false)
        await browser.scan(URL(filePath: "/nowhere"))
        #expect(browser.rows.isEmpty && browser.error != nil)
    }

    @Test func rowsAreSortedAndDeleted() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "browser-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        for (name, size) in [("b", 10), ("a", 2000), ("broken", 1)] {
            let model = folder.appending(path: name)
            try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
            let config = name == "broken" ? "{" : #"{"model_type": "other", "num_hidden_layers": 9999999999}"#
            try Data(config.utf8).write(to: model.appending(path: "config.json"))
            try Data(count: size).write(to: model.appending(path: "model.safetensors"))
        }
        let browser = ModelBrowserViewModel()
        await browser.scan(folder)
        #expect(browser.visibleRows.map(\.name) == ["a", "b"] && browser.rows.allSatisfy { !$0.isSupported })
        browser.order = .size
        #expect(browser.visibleRows.map(\.name) == ["b", "a"])
        browser.delete(browser.visibleRows[0])
        #expect(browser.rows.map(\.name) == ["a"])
    }

    @Test func memoryFits() {
        func fit(_ weights: Int, _ cache: Int = 0) -> MemoryFit {
            MemoryFit(weightBytes: weights, cacheBytesPerToken: cache, tokens: 10, available: 1000)
        }
        #expect(fit(600) == .fits && fit(800) == .tight && fit(1000) == .tooLarge && fit(600, 40) == .tooLarge)
        #expect(MemoryFit.fits < .tooLarge && MemoryFit.availableBytes > 1 << 28)
    }
}
