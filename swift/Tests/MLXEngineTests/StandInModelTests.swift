import Foundation
import Testing

@testable import MLXEngine

@Suite struct StandInModelTests {
    @Test func itAnswersLikeAModel() async throws {
        let standIn = StandInModel { messages in "You said: " + (messages.last?.content ?? "") }
        let session = ChatSession(standIn.model, instructions: "Be kind.")
        #expect(try await session.respond(to: "Hello there").hasPrefix("You said: "))
        #expect(session.messages.map(\.role) == [.system, .user, .assistant])
        let model = StandInModel("The capital of France is Paris.").model
        var chunks: [String] = []
        var info: GenerateCompletionInfo?
        for try await event in model.stream(.chat([.user("Where?")])) {
            chunks += event.chunk.map { [$0] } ?? []
            info = event.info ?? info
        }
        #expect(chunks == ["The ", "capital ", "of ", "France ", "is ", "Paris."])
        #expect(info?.stopReason == .stop && info?.generationTokenCount == 6)
        let configuration = try model.configuration()
        #expect(model.info.name == "stand-in" && configuration == "{}")
        #expect(try model.tokenizer.decode(model.tokenizer.encode("e\u{301} 🇫🇮")) == "e\u{301} 🇫🇮")
    }

    @Test func itObservesParameters() async throws {
        let model = StandInModel("The capital of France is Paris.").model
        let short = try await model.generate("Where?", parameters: .init(maxTokens: 2))
        #expect(short.text == "The capital " && short.info.stopReason == .length)
        let stopped = try await model.generate("Where?", parameters: .init(stop: ["Paris", " of"]))
        #expect(stopped.text == "The capital" && stopped.info.stopReason == .stopText)
        let full = try await model.generate("Where?", parameters: .init(maxContext: 8))
        #expect(full.text == "The capital " && full.info.stopReason == .contextFull)
        let long = await engineError { try await model.generate("Where?", parameters: .init(maxContext: 5)) }
        #expect(long?.code == .contextFull)
        var tokens: [GeneratedToken] = []
        for try await event in model.events("Where?", parameters: .init(maxTokens: 1, logprobs: 0)) {
            if case .token(let token) = event { tokens.append(token) }
        }
        #expect(tokens.map(\.text) == ["The "] && tokens[0].logprob == 0)
    }

    @Test func itCanBeStopped() async throws {
        let slow = StandInModel("One two three four five six.", pace: .milliseconds(50)).model
        let session = ChatSession(slow)
        for try await _ in session.streamResponse(to: "Count.") {
            break
        }
        await session.stop()
        #expect(session.messages.last?.content.hasPrefix("One ") == true)
        #expect(session.messages.last?.content.contains("six") == false)
    }

    @Test @MainActor func itsLoadHasPhases() async {
        let loader = ModelLoader()
        await loader.load(ModelConfiguration(standIn: StandInModel("Yes."))).value
        #expect(loader.phase == .ready && loader.model?.info.name == "stand-in")
        let failing = StandInModel(loadFailure: EngineError(.invalidWeights, "model.safetensors is truncated")) { _ in
            ""
        }
        await loader.load(ModelConfiguration(standIn: failing)).value
        #expect(loader.error?.code == .invalidWeights && loader.error?.phase == "loadingWeights")
        #expect(loader.status == "Loading failed while loading the weights: model.safetensors is truncated")
    }

    @Test func wordsAreTheText() {
        for text in ["", " ", "a", "a b", " a  b\nc ", "e\u{301} x"] {
            #expect(StandInModel.words(text).joined() == text)
        }
        #expect(StandInModel.words(" a  b\nc") == [" ", "a  ", "b\n", "c"])
    }
}
