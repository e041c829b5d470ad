/// What a conversation does when it no longer fits the context.
///
/// ```swift
/// let session = ChatSession(model, contextPolicy: .dropOldestTurns())
/// print(try await session.respond(to: "Where were we?"))
/// ```
///
/// It is asked before each request. An answer that fills the context while it is generated ends there, with
/// ``GenerateStopReason/contextFull``; the next request then asks the policy.
public struct ContextPolicy: Sendable {
    /// Replaces the messages of a conversation by fewer.
    public typealias Summarize = @Sendable (ContextOverflow) async throws -> [ChatMessage]

    enum Kind: Sendable {
        case fail
        case dropOldestTurns
        case summarize(Summarize)
    }

    let kind: Kind
    /// The tokens to be left for the answer.
    let reserve: Int

    /// The request fails with ``EngineError/Code/contextFull``.
    public static let fail = ContextPolicy(kind: .fail, reserve: 0)

    /// The prompt leaves out the oldest turns. A turn is a message of the user with everything up to the next one, so
    /// that roles still alternate as templates want it, and results of tools stay with their calls. The system prompt
    /// and the new question always stay; if these alone do not fit, the request fails with
    /// ``EngineError/Code/contextFull``. ``ChatSession/messages`` keeps everything, and
    /// ``ChatSession/omittedMessageCount`` says how much the model no longer sees.
    ///
    /// - Parameter reserve: How many tokens are to be left for the answer, at most half of the context.
    public static func dropOldestTurns(reserving reserve: Int = 256) -> ContextPolicy {
        ContextPolicy(kind: .dropOldestTurns, reserve: reserve)
    }

    /// `summarize` gives other messages, which replace those of the session. If they do not fit either, the request
    /// fails with ``EngineError/Code/contextFull``; if it throws, with that error. Either way the session keeps the
    /// messages that it had.
    ///
    /// ```swift
    /// let policy = ContextPolicy.summarize { overflow in
    ///     let request = ChatMessage.user("Summarise our conversation in five sentences.")
    ///     let old = overflow.messages.dropLast(4)
    ///     let summary = try await overflow.model.generate(.chat(old + [request]))
    ///     return [.system("Earlier: " + summary.text)] + overflow.messages.suffix(4)
    /// }
    /// ```
    ///
    /// - Parameters:
    ///   - reserve: How many tokens are to be left for the answer, at most half of the context.
    ///   - summarize: Gives fewer messages. It must not ask the session, which waits for it; it may ask the model.
    public static func summarize(reserving reserve: Int = 256, _ summarize: @escaping Summarize) -> ContextPolicy {
        ContextPolicy(kind: .summarize(summarize), reserve: reserve)
    }
}

/// A conversation that does not fit the context.
public struct ContextOverflow: Sendable {
    /// The model that is to answer.
    public let model: LanguageModel
    /// The messages so far, the system prompt first.
    public let messages: [ChatMessage]
    /// The new question, which is not among them.
    public let question: ChatMessage
    /// How many tokens the messages and the question are.
    public let tokenCount: Int
    /// How many tokens they may be.
    public let limit: Int
}

/// A prompt that a policy made.
struct FittedPrompt {
    /// The messages of the prompt, with the question.
    var chat: [ChatMessage]
    var tokens: [Token]
    /// The messages that the session is to have, if they are others.
    var messages: [ChatMessage]?
    /// How many messages it leaves out.
    var omitted = 0
}

extension ContextPolicy {
    /// The prompt for a question after messages.
    func prompt(
        _ messages: [ChatMessage], _ question: ChatMessage, options: ChatTemplateOptions,
        parameters: GenerateParameters, model: LanguageModel
    ) async throws -> FittedPrompt {
        func prompt(_ messages: [ChatMessage]) throws -> FittedPrompt {
            let chat = messages + [question]
            return FittedPrompt(chat: chat, tokens: try model.tokens(of: .chat(chat, options: options)))
        }
        let all = try prompt(messages)
        guard let context = parameters.maxContext ?? model.info.contextLength else { return all }
        let answer = min(reserve, parameters.maxTokens ?? .max, context / 2)
        let limit = context - max(answer, 0)
        if all.tokens.count <= limit {
            return all
        }
        switch kind {
        case .fail:
            return all
        case .dropOldestTurns:
            return try Self.dropping(messages, limit: limit, prompt)
        case .summarize(let summarize):
            let overflow = ContextOverflow(
                model: model, messages: messages, question: question, tokenCount: all.tokens.count, limit: limit)
            let fewer = try await summarize(overflow)
            var fitted = try prompt(fewer)
            fitted.messages = fewer
            return fitted
        }
    }

    /// The prompt that leaves out as few of the oldest turns as possible; all of them, where even that does not fit.
    private static func dropping(
        _ messages: [ChatMessage], limit: Int, _ render: ([ChatMessage]) throws -> FittedPrompt
    ) throws -> FittedPrompt {
        let system = messages.prefix { $0.role == .system }
        let rest = messages[system.endIndex...]
        // Where the prompt may begin: at a question, or after everything.
        let starts = rest.indices.dropFirst().filter { rest[$0].role == .user } + [rest.endIndex]
        func prompt(from start: Int) throws -> FittedPrompt {
            var fitted = try render(Array(system) + rest[start...])
            fitted.omitted = start - rest.startIndex
            return fitted
        }
        // Longer prompts are those that begin earlier.
        var (low, high, best) = (0, starts.count, FittedPrompt?.none)
        while low < high {
            let middle = (low + high) / 2
            let tried = try prompt(from: starts[middle])
            if tried.tokens.count <= limit {
                (high, best) = (middle, tried)
            } else {
                low = middle + 1
            }
        }
        return try best ?? prompt(from: rest.endIndex)
    }
}
