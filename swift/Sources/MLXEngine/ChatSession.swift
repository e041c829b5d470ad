import Foundation

/// A conversation with a model.
///
/// ```swift
/// let session = ChatSession(model, instructions: "Answer in one word.")
/// print(try await session.respond(to: "What is the capital of Kenya?"))
/// for try await text in session.streamResponse(to: "And of France?") {
///     print(text, terminator: "")
/// }
/// ```
///
/// Requests are answered one after the other, in the order in which they were made. A request adds the question and its
/// answer to ``messages`` when it is over; a request that is cancelled keeps what was answered so far, and one that
/// fails, or was cancelled before its first word, leaves the messages as they were.
public final class ChatSession: Sendable {
    private struct State {
        var messages: [ChatMessage]
        var parameters: GenerateParameters
        var templateOptions: ChatTemplateOptions
        var isResponding = false
        var waiting: [@Sendable () -> Void] = []
    }

    /// The model that answers.
    public let model: LanguageModel

    private let state: Locked<State>

    /// A conversation.
    ///
    /// - Parameters:
    ///   - model: The model that answers.
    ///   - instructions: The system prompt. Put before `history`, unless that begins with one.
    ///   - history: Earlier messages to continue from, such as saved ones.
    ///   - generateParameters: How to generate.
    ///   - templateOptions: How messages are rendered: tools, template variables.
    public init(
        _ model: LanguageModel, instructions: String? = nil, history: [ChatMessage] = [],
        generateParameters: GenerateParameters = GenerateParameters(),
        templateOptions: ChatTemplateOptions = ChatTemplateOptions()
    ) {
        var messages = history
        if let instructions, history.first?.role != .system {
            messages.insert(.system(instructions), at: 0)
        }
        self.model = model
        state = Locked(
            State(messages: messages, parameters: generateParameters, templateOptions: templateOptions))
    }

    /// The messages so far, the system prompt first. Setting them continues from others; requests in progress still add
    /// theirs.
    public var messages: [ChatMessage] {
        get { state.withLock { $0.messages } }
        set { state.withLock { $0.messages = newValue } }
    }

    /// How to generate, from the next request on.
    public var generateParameters: GenerateParameters {
        get { state.withLock { $0.parameters } }
        set { state.withLock { $0.parameters = newValue } }
    }

    /// How messages are rendered, from the next request on.
    public var templateOptions: ChatTemplateOptions {
        get { state.withLock { $0.templateOptions } }
        set { state.withLock { $0.templateOptions = newValue } }
    }

    /// Whether a request is being answered.
    public var isResponding: Bool {
        state.withLock { $0.isResponding }
    }

    /// Starts over; the system prompt is kept.
    public func clear() {
        state.withLock { $0.messages.removeAll { $0.role != .system } }
    }

    /// Asks, and returns the whole answer.
    ///
    /// - Parameters:
    ///   - prompt: The question.
    ///   - role: The role of the prompt; `.tool` for the result of a tool.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func respond(to prompt: String, role: ChatMessage.Role = .user) async throws -> String {
        var answer = ""
        for try await text in streamResponse(to: prompt, role: role) {
            answer += text
        }
        try Task.checkCancellation()
        return answer
    }

    /// Asks, and streams the answer's text.
    ///
    /// Cancelling the iterating task, or dropping the stream, ends the answer within one token.
    public func streamResponse(
        to prompt: String, role: ChatMessage.Role = .user
    ) -> AsyncThrowingStream<String, any Error> {
        stream(to: prompt, role: role, parameters: nil) { generation in generation.chunk }
    }

    /// Asks, and streams the answer's text and then its statistics.
    public func streamDetails(
        to prompt: String, role: ChatMessage.Role = .user
    ) -> AsyncThrowingStream<Generation, any Error> {
        stream(to: prompt, role: role, parameters: nil) { generation in generation }
    }

    /// `parameters` replace the session's own.
    func stream<Element: Sendable>(
        to prompt: String, role: ChatMessage.Role, parameters: GenerateParameters?,
        _ element: @escaping @Sendable (Generation) -> Element?
    ) -> AsyncThrowingStream<Element, any Error> {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Element.self)
        let slot = TaskSlot()
        continuation.onTermination = { _ in slot.cancel() }
        let send: @Sendable (Generation) -> Void = { generation in
            if let element = element(generation) {
                continuation.yield(element)
            }
        }
        enqueue { [self] in
            answer(ChatMessage(role: role, content: prompt), parameters, slot: slot, send: send) { error in
                continuation.finish(throwing: error)
            }
        }
        return stream
    }

    /// Runs requests one after the other: a new one may come while a cancelled one still needs a step to end.
    private func enqueue(_ request: @escaping @Sendable () -> Void) {
        let startNow = state.withLock { state in
            guard state.isResponding else {
                state.isResponding = true
                return true
            }
            state.waiting.append(request)
            return false
        }
        if startNow {
            // Rendering and tokenizing should block neither the caller nor the engine's thread.
            Task { request() }
        }
    }

    private func startNext() {
        let next = state.withLock { state -> (@Sendable () -> Void)? in
            if state.waiting.isEmpty {
                state.isResponding = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        if let next {
            Task { next() }
        }
    }

    private func answer(
        _ question: ChatMessage, _ own: GenerateParameters?, slot: TaskSlot,
        send: @escaping @Sendable (Generation) -> Void,
        finish: @escaping @Sendable ((any Error)?) -> Void
    ) {
        let text = Locked("")
        let (messages, parameters, options) = state.withLock { ($0.messages, $0.parameters, $0.templateOptions) }
        model.start(
            .chat(messages + [question], options: options), parameters: own ?? parameters, slot: slot,
            onText: { chunk in
                text.withLock { $0 += chunk }
                send(.chunk(chunk))
            },
            onDone: { [self] result in
                // The messages are complete before the answer is reported.
                switch result {
                case .success(let info):
                    let answer = text.withLock { $0 }
                    if info.stopReason != .cancelled || !answer.isEmpty {
                        state.withLock { $0.messages += [question, .assistant(answer)] }
                    }
                    startNext()
                    send(.info(info))
                    finish(nil)
                case .failure(let error):
                    startNext()
                    finish(error)
                }
            })
    }
}
