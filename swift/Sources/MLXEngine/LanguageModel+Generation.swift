import CMLXEngine

extension LanguageModel {
    /// Generates after a prompt, as a stream of text that ends with statistics.
    ///
    /// ```swift
    /// for try await event in model.stream(.chat([.user("Tell me a story.")])) {
    ///     switch event {
    ///     case .chunk(let text): print(text, terminator: "")
    ///     case .info(let info): print("\n\(info.tokensPerSecond) tokens/s")
    ///     }
    /// }
    /// ```
    ///
    /// ``GenerationStream`` says how it ends: with the loop, its task, or a cancel.
    public func stream(
        _ input: ModelInput, parameters: GenerateParameters = GenerateParameters()
    ) -> GenerationStream<Generation> {
        stream(input, parameters, info: Generation.info) { yield, onDone in
            GenerationObserver(onText: { yield(.chunk($0)) }, onDone: onDone)
        }
    }

    /// Generates after a prompt, as a stream of events that ends with statistics: progress of the prompt, and tokens
    /// with their ids, text and, if ``GenerateParameters/logprobs`` requests them, log-probabilities.
    ///
    /// ```swift
    /// for try await event in model.events("Once", parameters: GenerateParameters(logprobs: 3)) {
    ///     if case .token(let token) = event {
    ///         print(token.id, token.text, token.logprob ?? 0, token.top.map(\.id))
    ///     }
    /// }
    /// ```
    ///
    /// It ends as ``stream(_:parameters:)`` does.
    public func events(
        _ input: ModelInput, parameters: GenerateParameters = GenerateParameters()
    ) -> GenerationStream<GenerationEvent> {
        stream(input, parameters, info: GenerationEvent.info) { yield, onDone in
            GenerationObserver(onEvent: yield, onDone: onDone)
        }
    }

    private func stream<Element: Sendable>(
        _ input: ModelInput, _ parameters: GenerateParameters,
        info: @escaping @Sendable (GenerateCompletionInfo) -> Element,
        observer: @escaping @Sendable (@escaping @Sendable (Element) -> Void, @escaping GenerationObserver.Completion)
            -> GenerationObserver
    ) -> GenerationStream<Element> {
        let stream = GenerationStream<Element>()
        let (events, slot) = (stream.work.events, stream.work.slot)
        let onDone: GenerationObserver.Completion = { result in
            switch result {
            case .success(let end):
                events.send(info(end))
                events.finish()
            case .failure(let error):
                events.finishStream(throwing: error)
            }
        }
        // Tokenizing a long conversation takes milliseconds, which should not block the caller, perhaps the main actor.
        Task {
            start(input, parameters: parameters, slot: slot, onDone: onDone) {
                observer({ events.send($0) }, onDone)
            }
        }
        return stream
    }

    /// Generates after a prompt and returns the whole answer.
    ///
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled, which stops the generation within
    ///   one token.
    public func generate(
        _ input: ModelInput, parameters: GenerateParameters = GenerateParameters()
    ) async throws -> GenerateResult {
        let slot = TaskSlot()
        let answer = Locked("")
        let info = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                start(input, parameters: parameters, slot: slot) { text in
                    answer.withLock { $0 += text }
                } onDone: {
                    continuation.resume(with: $0)
                }
            }
        } onCancel: {
            slot.cancel()
        }
        try Task.checkCancellation()
        return GenerateResult(text: answer.withLock { $0 }, info: info)
    }

    /// The tokens of a prompt.
    public func tokens(of input: ModelInput) throws -> [Token] {
        switch input {
        case .tokens(let tokens):
            tokens
        case .text(let text):
            try tokenizer.encode(text)
        case .chat(let messages, let options):
            try tokenizer.encode(
                tokenizer.applyChatTemplate(messages, options: options), addSpecialTokens: false)
        }
    }

    /// Starts a generation. `onDone` is called exactly once: on a thread of the library, or before this returns if the
    /// generation is not accepted.
    func start(
        _ input: ModelInput, parameters: GenerateParameters, slot: TaskSlot,
        onText: @escaping @Sendable (String) -> Void, onDone: @escaping GenerationObserver.Completion
    ) {
        start(input, parameters: parameters, slot: slot, onDone: onDone) {
            GenerationObserver(onText: onText, onDone: onDone)
        }
    }

    /// The same for an observer, which C then owns. Its `onDone` must be this one.
    private func start(
        _ input: ModelInput, parameters: GenerateParameters, slot: TaskSlot,
        onDone: @escaping GenerationObserver.Completion, observer: () -> GenerationObserver
    ) {
        do {
            if slot.isCancelled { throw CancellationError() }
            let handle: Handle
            switch backing {
            case .standIn(let model):
                return model.generate(input, parameters: parameters, slot: slot, observer())
            case .library(let own):
                handle = own
            }
            let prompt = try tokens(of: input)
            try parameters.withCOptions { options in
                var callbacks = observer().retainedCallbacks()
                try prompt.withUnsafeBufferPointer { prompt in
                    try slot.start {
                        mlxe_generate_start(
                            handle.pointer, prompt.baseAddress, prompt.count, options, &callbacks, &$0)
                    }
                }
            }
        } catch {
            onDone(.failure(error))
        }
    }
}
