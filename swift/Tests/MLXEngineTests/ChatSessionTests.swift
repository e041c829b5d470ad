import Foundation
import Observation
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
        #expect(!heard.isEmpty)
        // The next question may come before the cancelled answer has ended: it waits.
        let next = try await session.respond(to: "What is the capital of France?")
        #expect(next.contains("Paris"))
        #expect(session.messages.count == 4)
        #expect(session.messages[1].content == heard && heard.count < 400)
    }

    /// Parameters with which the small model does not end by itself within a test.
    static func endless(_ model: LanguageModel) -> GenerateParameters {
        GenerateParameters(
            maxTokens: 1900, logitBias: Dictionary(uniqueKeysWithValues: model.info.eosTokens.map { ($0, -1000) }))
    }

    @Test func theTurnIsThereOnceTheSessionHasSettled() async throws {
        let model = try await Fixtures.model()
        let session = ChatSession(model, generateParameters: Self.endless(model))
        // Kept beyond its loop, a stream must not keep the session busy.
        let stream = session.streamResponse(to: "Tell me a story.")
        var heard = ""
        for try await text in stream {
            heard += text
            break
        }
        await session.settled()
        #expect(!session.isResponding && session.messages.map(\.role) == [.user, .assistant])
        let said = session.messages[1].content
        #expect(said.hasPrefix(heard) && said.count < 2000)
        // Read again, it says so; and without work there is nothing to wait for.
        #expect(await engineError { for try await _ in stream {} }?.code == .invalidArgument)
        await session.settled()
    }

    @Test func aStreamThatNobodyReadsEndsWithItsLastReference() async throws {
        let model = try await Fixtures.model()
        let session = ChatSession(model, generateParameters: Self.endless(model))
        do {
            _ = session.streamResponse(to: "Tell me a story.")
        }
        await session.settled()
        #expect(session.messages.count != 1 && (session.messages.last?.content.count ?? 0) < 2000)
    }

    @Test func stoppingEndsAllRequestsAndSaysWhy() async throws {
        let model = try await Fixtures.model()
        let session = ChatSession(model, generateParameters: Self.endless(model))
        let first = session.streamDetails(to: "Tell me a story.")
        let second = session.streamResponse(to: "And another one.")
        let whole = Task { try await session.respond(to: "And a third one.") }
        var (heard, info) = ("", GenerateCompletionInfo?.none)
        for try await event in first {
            heard += event.chunk ?? ""
            if info == nil, event.chunk != nil {
                await session.stop()
                #expect(!session.isResponding && session.messages.count == 2)
            }
            info = event.info ?? info
        }
        #expect(info?.stopReason == .cancelled && info?.generationTokenCount ?? 0 > 0)
        #expect(session.messages.last?.content == heard)
        for try await text in second {
            Issue.record("said \(text)")
        }
        // It may have been asked after the stop.
        let stopping = Task {
            while !whole.isCancelled {
                await session.stop()
                try? await Task.sleep(for: .milliseconds(5))
            }
        }
        await #expect(throws: CancellationError.self) { try await whole.value }
        whole.cancel()
        await stopping.value
        // Nothing is left of it.
        session.generateParameters = GenerateParameters()
        session.clear()
        #expect(try await session.respond(to: "What is the capital of France?").contains("Paris"))
    }

    @Test func aCancelledStreamStillHasItsStatistics() async throws {
        let model = try await Fixtures.model()
        let session = ChatSession(model, generateParameters: Self.endless(model))
        let task = Task {
            var (text, info) = ("", GenerateCompletionInfo?.none)
            for try await event in session.streamDetails(to: "Tell me a story.") {
                text += event.chunk ?? ""
                info = event.info ?? info
                withUnsafeCurrentTask { $0?.cancel() }
            }
            return (text, info)
        }
        let (text, info) = try await task.value
        #expect(info?.stopReason == .cancelled && session.messages.last == .assistant(text))
    }

    @Test func noChangeOfTheMessagesIsLost() async throws {
        let session = ChatSession(StandInModel("Yes.").model)
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<200 {
                group.addTask { session.withMessages { $0.append(.user("\(number)")) } }
            }
        }
        #expect(Set(session.messages.map(\.content)).count == 200)
        try await session.respond(to: "All there?")
        #expect(session.messages.count == 202)
    }

    @Test func sessionsAreObservable() async throws {
        let session = ChatSession(StandInModel("Yes.").model)
        let apple = ModelSession(model: session.model)
        let changed = Collected<String>()
        func observe() {
            withObservationTracking {
                _ = session.messages
            } onChange: {
                changed.append("messages")
            }
            withObservationTracking {
                _ = session.isResponding
            } onChange: {
                changed.append("isResponding")
            }
            withObservationTracking {
                _ = session.generateParameters
            } onChange: {
                changed.append("parameters")
            }
            withObservationTracking {
                _ = apple.transcript
            } onChange: {
                changed.append("transcript")
            }
        }
        observe()
        session.generateParameters.maxTokens = 5
        #expect(changed.values == ["parameters"])
        try await session.respond(to: "Are you there?")
        #expect(Set(changed.values) == ["parameters", "messages", "isResponding"])
        try await apple.respond(to: "Are you there?")
        #expect(changed.values.contains("transcript"))
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
