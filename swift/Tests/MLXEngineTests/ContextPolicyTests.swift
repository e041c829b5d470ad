import Foundation
import Testing

@testable import MLXEngine

@Suite struct ContextPolicyTests {
    /// Answers with the messages that it was given.
    static let seen = StandInModel { messages in messages.map(\.content).joined(separator: "|") }

    static let history: [ChatMessage] = [
        .system("Be brief."), .user("one"), .assistant("1"), .user("two"), .assistant("calls"), .tool("2"),
        .assistant("2"), .user("three"), .assistant("3"),
    ]

    /// As many tokens as messages with the question take, plus some.
    static func session(
        _ policy: ContextPolicy, keeping count: Int, and more: Int = 0, history: [ChatMessage] = history
    ) throws -> ChatSession {
        let model = seen.model
        let kept = [history[0]] + history.suffix(count) + [.user("four")]
        let context = try model.tokens(of: .chat(kept)).count + more
        return ChatSession(
            model, history: history, generateParameters: GenerateParameters(maxContext: context), contextPolicy: policy)
    }

    @Test func withoutAPolicyAFullContextIsAnError() async throws {
        let session = try Self.session(.fail, keeping: 2)
        #expect(await engineError { try await session.respond(to: "four") }?.code == .contextFull)
        #expect(session.messages == Self.history)
    }

    /// One token fewer, and one more turn goes.
    @Test(arguments: [(8, 0, 0), (8, -1, 2), (6, 0, 2), (6, -1, 6), (2, 0, 6), (2, -1, 8), (0, 0, 8)])
    func theOldestTurnsAreLeftOut(_ kept: Int, _ more: Int, _ omitted: Int) async throws {
        // Room for the answer is at most what it may have.
        let session = try Self.session(.dropOldestTurns(reserving: 0), keeping: kept, and: more)
        let prompt = Locked<[String]>([])
        let standIn = StandInModel { messages in
            prompt.withLock { $0 = messages.map(\.content) }
            return "4"
        }
        let asked = ChatSession(
            standIn.model, history: Self.history, generateParameters: session.generateParameters,
            contextPolicy: .dropOldestTurns(reserving: 0))
        _ = try? await asked.respond(to: "four")
        #expect(asked.omittedMessageCount == omitted)
        let want = [Self.history[0]] + Self.history.dropFirst(1 + omitted) + [.user("four")]
        #expect(prompt.withLock { $0 } == want.map(\.content))
        // Nothing is lost to the eye.
        #expect(asked.messages.prefix(9) == Self.history[...])
    }

    @Test func roomIsLeftForTheAnswer() async throws {
        let session = try Self.session(.dropOldestTurns(reserving: 20), keeping: 8, and: 19)
        _ = try await session.respond(to: "four")
        #expect(session.omittedMessageCount == 2)
        session.generateParameters.maxTokens = 1
        session.withMessages { $0 = Self.history }
        _ = try await session.respond(to: "four")
        #expect(session.omittedMessageCount == 0)
    }

    @Test func aQuestionThatDoesNotFitAtAllIsAnError() async throws {
        let session = try Self.session(.dropOldestTurns(), keeping: 0, and: -1)
        #expect(await engineError { try await session.respond(to: "four") }?.code == .contextFull)
    }

    @Test func aSummaryReplacesMessages() async throws {
        let overflows = Collected<ContextOverflow>()
        let policy = ContextPolicy.summarize(reserving: 0) { overflow in
            overflows.append(overflow)
            return [.system("Counted to three.")]
        }
        let session = try Self.session(policy, keeping: 6)
        try await session.respond(to: "four")
        #expect(session.messages.prefix(2) == [.system("Counted to three."), .user("four")])
        #expect(session.messages.count == 3)
        let overflow = try #require(overflows.values.first)
        #expect(overflow.messages == Self.history && overflow.question == .user("four"))
        #expect(overflow.tokenCount > overflow.limit && overflow.limit == session.generateParameters.maxContext)
        // It fits now, so nobody is asked.
        try await session.respond(to: "five")
        #expect(overflows.values.count == 1)
    }

    @Test func aSummaryThatFailsFailsTheRequest() async throws {
        let session = try Self.session(.summarize { _ in throw EngineError(.busy, "later") }, keeping: 2)
        #expect(await engineError { try await session.respond(to: "four") }?.code == .busy)
        #expect(session.messages == Self.history && !session.isResponding)
    }

    /// With a real model and its template.
    @Test func aLongConversationGoesOn() async throws {
        let model = try await Fixtures.model()
        let history = (0..<60).flatMap { [ChatMessage.user("Question \($0)?"), .assistant("Answer \($0).")] }
        func session(_ policy: ContextPolicy) -> ChatSession {
            ChatSession(
                model, history: history, generateParameters: GenerateParameters(maxContext: 300), contextPolicy: policy)
        }
        let failing = session(.fail)
        #expect(await engineError { try await failing.respond(to: "Hello") }?.code == .contextFull)
        let dropping = session(.dropOldestTurns())
        #expect(try await dropping.respond(to: "What is the capital of France?").contains("Paris"))
        #expect(dropping.omittedMessageCount > 60 && dropping.omittedMessageCount.isMultiple(of: 2))
        #expect(dropping.messages.count == 122)
    }
}
