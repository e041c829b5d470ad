import Foundation
import Testing

@testable import MLXEngine

@Suite struct ChatSessionTests {
    @Test func aConversationRemembers() async throws {
        let session = ChatSession(try await Fixtures.model())
        try await session.respond(to: "My name is Ada.")
        let answer = try await session.respond(to: "What is my name?")
        #expect(answer.contains("Ada"))
        #expect(session.messages.map(\.role) == [.user, .assistant, .user, .assistant])
        #expect(session.messages.last == .assistant(answer) && !session.isResponding)
    }

    @Test func instructionsComeFirstAndStay() async throws {
        let session = ChatSession(try await Fixtures.model(), instructions: "Answer in one word.")
        #expect(try await session.respond(to: "What is the capital of Kenya?") == "Nairobi")
        session.clear()
        #expect(session.messages == [.system("Answer in one word.")])
    }

    @Test func savedMessagesAreRestored() async throws {
        let model = try await Fixtures.model()
        let session = ChatSession(model)
        try await session.respond(to: "My name is Ada.")
        let saved = try JSONEncoder().encode(session.messages)
        let restored = ChatSession(model, history: try JSONDecoder().decode([ChatMessage].self, from: saved))
        #expect(restored.messages == session.messages)
        #expect(try await restored.respond(to: "What is my name?").contains("Ada"))
    }

    @Test func anAnswerStreams() async throws {
        let session = ChatSession(try await Fixtures.model())
        var parts: [String] = []
        for try await part in session.streamResponse(to: "What is the capital of France?") {
            parts.append(part)
        }
        #expect(parts.count > 3 && parts.joined() == "The capital of France is Paris.")
        #expect(session.messages.last == .assistant("The capital of France is Paris."))
        var info: GenerateCompletionInfo?
        for try await event in session.streamDetails(to: "And of Finland?") {
            info = event.info ?? info
        }
        #expect(info?.stopReason == .stop)
    }

    @Test func requestsAreAnsweredInOrder() async throws {
        let session = ChatSession(try await Fixtures.model())
        let names = ["France", "Finland", "Portugal", "Kenya"]
        let streams = names.map { session.streamResponse(to: "What is the capital of \($0)?") }
        for (name, stream) in zip(names, streams).reversed() {
            var text = ""
            for try await part in stream {
                text += part
            }
            #expect(text.contains(name))
        }
        #expect(
            session.messages.filter { $0.role == .user }.map(\.content) == names.map { "What is the capital of \($0)?" }
        )
    }

    @Test func aCancelledAnswerKeepsWhatWasSaid() async throws {
        let session = ChatSession(try await Fixtures.model())
        let stream = session.streamResponse(to: "Tell me a long story about a penguin called Mireille.")
        let (began, begin) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            var text = ""
            for try await part in stream {
                text += part
                begin.yield()
            }
            return text
        }
        for await _ in began { break }
        task.cancel()
        let heard = try await task.value
        // The next question may come before the cancelled answer has ended: it waits.
        let next = try await session.respond(to: "What is the capital of France?")
        #expect(next.contains("Paris"))
        #expect(session.messages.count == 4)
        #expect(session.messages[1].content.hasPrefix(heard) && session.messages[1].content.count < 400)
    }

    @Test func aFailedRequestChangesNothing() async throws {
        let session = ChatSession(try await Fixtures.model())
        session.generateParameters.topP = 7
        await #expect(throws: EngineError.self) { try await session.respond(to: "Hello") }
        #expect(session.messages.isEmpty && !session.isResponding)
        session.generateParameters.topP = 1
        #expect(try await session.respond(to: "What is the capital of France?").contains("Paris"))
    }

    @Test func toolsAreOfferedAndTheirAnswersUsed() async throws {
        let weather: JSONValue = [
            "type": "function",
            "function": [
                "name": "get_weather", "description": "Get the current weather for a city",
                "parameters": [
                    "type": "object",
                    "properties": ["city": ["type": "string", "description": "The name of the city"]],
                    "required": ["city"],
                ],
            ],
        ]
        let session = ChatSession(
            try await Fixtures.model(), templateOptions: ChatTemplateOptions(tools: [weather]))
        let call = try await session.respond(to: "What is the weather in Tampere?")
        #expect(call.contains("get_weather") && call.contains("Tampere"))
        let answer = try await session.respond(
            to: #"{"temperature": -7, "condition": "snowy"}"#, role: .tool)
        #expect(answer.contains("snowy"))
    }

    @Test func theShapeOfApplesSession() async throws {
        let model = try await Fixtures.model()
        let session = ModelSession(model: model, instructions: "Answer in one word.")
        let response = try await session.respond(to: "What is the capital of Kenya?")
        #expect(response.content == "Nairobi" && response.info.stopReason == .stop)
        var snapshots: [String] = []
        for try await snapshot in session.streamResponse(to: "What is the capital of France?") {
            snapshots.append(snapshot.content)
        }
        #expect(snapshots.last == "Paris" && zip(snapshots, snapshots.dropFirst()).allSatisfy { $1.hasPrefix($0) })
        #expect(session.transcript.count == 5 && !session.isResponding)
        let short = try await ModelSession(model: model).respond(
            to: "Tell me a story.", options: .init(samplingMode: .top(40, seed: 3), maximumResponseTokens: 4))
        #expect(short.info.generationTokenCount == 4 && short.info.seed == 3)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await session.respond(to: "What is the capital of France?")
        }
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
