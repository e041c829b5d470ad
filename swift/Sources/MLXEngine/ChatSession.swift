import Foundation
import Observation

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
///
/// The messages have settled when ``respond(to:role:)`` returns or throws, and when the loop over a stream has ended by
/// itself. After leaving a loop, and after cancelling a task, they settle within one token: wait for ``settled()``, or
/// ``stop()``, before you save them.
///
/// ```swift
/// for try await text in session.streamResponse(to: "Tell me a story.") {
///     if text.contains("dragon") { break }
/// }
/// await session.settled()
/// let saved = try JSONEncoder().encode(session.messages)
/// print(saved.count)
/// ```
///
/// A session is observable: a view that reads ``messages``, ``isResponding`` or the settings follows them. Every function
/// and property can be used from any thread or actor.
public final class ChatSession: Sendable, Observable {
    private struct Request: Sendable {
        let slot: TaskSlot
        let run: @Sendable () async -> Void
    }

    private struct State {
        var messages: [ChatMessage]
        var omitted = 0
        var parameters: GenerateParameters
        var templateOptions: ChatTemplateOptions
        var contextPolicy: ContextPolicy
        /// The request that is being answered.
        var current: TaskSlot?
        var waiting: [Request] = []
        /// How many requests were made, and how many are over.
        var made = 0
        var over = 0
        /// Who waits until so many are over.
        var settling: [(over: Int, waiter: CheckedContinuation<Void, Never>)] = []
    }

    /// The model that answers.
    public let model: LanguageModel

    private let state: Locked<State>
    private let registrar = ObservationRegistrar()

    /// A conversation.
    ///
    /// - Parameters:
    ///   - model: The model that answers.
    ///   - instructions: The system prompt. Put before `history`, unless that begins with one.
    ///   - history: Earlier messages to continue from, such as saved ones.
    ///   - generateParameters: How to generate.
    ///   - templateOptions: How messages are rendered: tools, template variables.
    ///   - contextPolicy: What to do when the conversation no longer fits the context.
    public init(
        _ model: LanguageModel, instructions: String? = nil, history: [ChatMessage] = [],
        generateParameters: GenerateParameters = GenerateParameters(),
        templateOptions: ChatTemplateOptions = ChatTemplateOptions(), contextPolicy: ContextPolicy = .fail
    ) {
        var messages = history
        if let instructions, history.first?.role != .system {
            messages.insert(.system(instructions), at: 0)
        }
        self.model = model
        state = Locked(
            State(
                messages: messages, parameters: generateParameters, templateOptions: templateOptions,
                contextPolicy: contextPolicy))
    }

    // MARK: - Messages and settings

    /// The messages so far, the system prompt first. ``withMessages(_:)`` changes them.
    public var messages: [ChatMessage] {
        read(\.messages) { $0.messages }
    }

    /// Changes the messages. Nobody else changes them meanwhile, so no change is lost, whatever the thread. Requests in
    /// progress still add theirs afterwards.
    ///
    /// ```swift
    /// session.withMessages { $0.append(.user("What is the capital of Kenya?")) }
    /// ```
    ///
    /// - Parameter change: Must not use the session.
    @discardableResult
    public func withMessages<Result: Sendable>(_ change: (inout [ChatMessage]) throws -> Result) rethrows -> Result {
        try registrar.withMutation(of: self, keyPath: \.messages) {
            try state.withLock { try change(&$0.messages) }
        }
    }

    /// How many of the oldest messages, not counting the system prompt, the last request left out of its prompt; see
    /// ``ContextPolicy/dropOldestTurns(reserving:)``.
    public var omittedMessageCount: Int {
        read(\.omittedMessageCount) { $0.omitted }
    }

    /// How to generate, from the next request on.
    public var generateParameters: GenerateParameters {
        get { read(\.generateParameters) { $0.parameters } }
        set { change(\.generateParameters) { $0.parameters = newValue } }
    }

    /// How messages are rendered, from the next request on.
    public var templateOptions: ChatTemplateOptions {
        get { read(\.templateOptions) { $0.templateOptions } }
        set { change(\.templateOptions) { $0.templateOptions = newValue } }
    }

    /// What to do when the conversation no longer fits the context, from the next request on.
    public var contextPolicy: ContextPolicy {
        get { read(\.contextPolicy) { $0.contextPolicy } }
        set { change(\.contextPolicy) { $0.contextPolicy = newValue } }
    }

    /// Whether a request is being answered.
    public var isResponding: Bool {
        read(\.isResponding) { $0.current != nil }
    }

    /// Starts over; the system prompt is kept. Requests in progress still add their messages: ``stop()`` them before.
    public func clear() {
        withMessages { $0.removeAll { $0.role != .system } }
    }

    private func read<Value: Sendable>(_ path: KeyPath<ChatSession, Value>, _ value: (State) -> Value) -> Value {
        registrar.access(self, keyPath: path)
        return state.withLock { value($0) }
    }

    private func change<Value>(_ path: KeyPath<ChatSession, Value>, _ change: (inout State) -> Void) {
        registrar.withMutation(of: self, keyPath: path) { state.withLock { change(&$0) } }
    }

    // MARK: - Settling

    /// Waits until all requests made so far are over, and ``messages`` has their answers.
    ///
    /// Does not return earlier when the task is cancelled, so that what is saved afterwards is complete.
    public func settled() async {
        await withCheckedContinuation { waiter in
            let isSettled = state.withLock { state in
                if state.over < state.made {
                    state.settling.append((state.made, waiter))
                    return false
                }
                return true
            }
            if isSettled {
                waiter.resume()
            }
        }
    }

    /// Ends all requests made so far within one token each, and waits as ``settled()`` does. Their streams end as
    /// cancelled; what was answered by then is kept.
    public func stop() async {
        let slots = state.withLock { state in
            (state.current.map { [$0] } ?? []) + state.waiting.map(\.slot)
        }
        slots.forEach { $0.cancel() }
        await settled()
    }

    // MARK: - Asking

    /// Asks, and returns the whole answer. The messages have settled when it returns or throws.
    ///
    /// - Parameters:
    ///   - prompt: The question.
    ///   - role: The role of the prompt; `.tool` for the result of a tool.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled or the session stopped.
    @discardableResult
    public func respond(to prompt: String, role: ChatMessage.Role = .user) async throws -> String {
        var (answer, reason) = ("", GenerateStopReason?.none)
        for try await event in streamDetails(to: prompt, role: role) {
            switch event {
            case .chunk(let text): answer += text
            case .info(let info): reason = info.stopReason
            }
        }
        guard let reason, reason != .cancelled else { throw CancellationError() }
        return answer
    }

    /// Asks, and streams the answer's text. The messages have settled when the loop has ended by itself; after leaving
    /// it they settle within one token, for which ``settled()`` waits.
    ///
    /// Cancelling the task of the loop, leaving the loop, and ``GenerationStream/cancel()`` end the answer within one
    /// token.
    public func streamResponse(to prompt: String, role: ChatMessage.Role = .user) -> GenerationStream<String> {
        stream(to: prompt, role: role, parameters: nil) { generation in generation.chunk }
    }

    /// Asks, and streams the answer's text and then its statistics. It settles as ``streamResponse(to:role:)`` does.
    public func streamDetails(to prompt: String, role: ChatMessage.Role = .user) -> GenerationStream<Generation> {
        stream(to: prompt, role: role, parameters: nil) { generation in generation }
    }

    /// `parameters` replace the session's own.
    func stream<Element: Sendable>(
        to prompt: String, role: ChatMessage.Role, parameters: GenerateParameters?,
        _ element: @escaping @Sendable (Generation) -> Element?
    ) -> GenerationStream<Element> {
        let stream = GenerationStream<Element>()
        let (events, slot) = (stream.work.events, stream.work.slot)
        let send: @Sendable (Generation) -> Void = { generation in
            if let element = element(generation) {
                events.send(element)
            }
        }
        let request = Request(slot: slot) { [self] in
            await answer(ChatMessage(role: role, content: prompt), parameters, slot: slot, send: send) { error in
                if let error {
                    events.finishStream(throwing: error)
                } else {
                    events.finish()
                }
            }
        }
        enqueue(request)
        return stream
    }

    /// Runs requests one after the other: a new one may come while a cancelled one still needs a step to end.
    private func enqueue(_ request: Request) {
        let startNow = state.withLock { state in
            state.made += 1
            guard state.current == nil else {
                state.waiting.append(request)
                return false
            }
            state.current = request.slot
            return true
        }
        if startNow {
            registrar.withMutation(of: self, keyPath: \.isResponding) {}
            // Rendering and tokenizing should block neither the caller nor the engine's thread.
            Task { await request.run() }
        }
    }

    /// Ends the current request and starts the next one.
    private func startNext() {
        let (next, settled) = state.withLock { state -> (Request?, [CheckedContinuation<Void, Never>]) in
            state.over += 1
            let next = state.waiting.isEmpty ? nil : state.waiting.removeFirst()
            state.current = next?.slot
            let over = state.over
            let settled = state.settling.filter { $0.over <= over }.map(\.waiter)
            state.settling.removeAll { $0.over <= over }
            return (next, settled)
        }
        if let next {
            Task { await next.run() }
        } else {
            registrar.withMutation(of: self, keyPath: \.isResponding) {}
        }
        settled.forEach { $0.resume() }
    }

    private func answer(
        _ question: ChatMessage, _ own: GenerateParameters?, slot: TaskSlot,
        send: @escaping @Sendable (Generation) -> Void,
        finish: @escaping @Sendable ((any Error)?) -> Void
    ) async {
        let fail: @Sendable (any Error) -> Void = { [self] error in
            startNext()
            finish(error)
        }
        let (messages, parameters, options, policy) = state.withLock {
            ($0.messages, own ?? $0.parameters, $0.templateOptions, $0.contextPolicy)
        }
        let prompt: FittedPrompt
        do {
            // Nothing is rendered for a request that is not wanted any more.
            if slot.isCancelled { throw CancellationError() }
            prompt = try await policy.prompt(
                messages, question, options: options, parameters: parameters, model: model)
        } catch {
            return fail(error)
        }
        let text = Locked("")
        // Rendered already; what stands in for a model wants messages.
        let input = model.isStandIn ? ModelInput.chat(prompt.chat, options: options) : .tokens(prompt.tokens)
        model.start(
            input, parameters: parameters, slot: slot,
            onText: { chunk in
                text.withLock { $0 += chunk }
                send(.chunk(chunk))
            },
            onDone: { [self] result in
                // The messages are complete before the answer is reported.
                switch result {
                case .success(let info):
                    let answer = text.withLock { $0 }
                    change(\.omittedMessageCount) { $0.omitted = prompt.omitted }
                    if info.stopReason != .cancelled || !answer.isEmpty {
                        withMessages { all in
                            if let shorter = prompt.messages {
                                // What came meanwhile stays.
                                all = shorter + all.dropFirst(messages.count)
                            }
                            all += [question, .assistant(answer)]
                        }
                    }
                    startNext()
                    send(.info(info))
                    finish(nil)
                case .failure(let error):
                    fail(error)
                }
            })
    }
}
