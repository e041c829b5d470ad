import CMLXEngine

/// Receives the events of a generation. C calls one function at a time.
package final class GenerationObserver: Sendable {
    package typealias Completion = @Sendable (Result<GenerateCompletionInfo, any Error>) -> Void

    /// The events that an observer wants.
    private enum Hearing {
        case text(@Sendable (String) -> Void)
        case events(@Sendable (GenerationEvent) -> Void)
    }

    private let hearing: Hearing
    private let onDone: Completion

    package init(onText: @escaping @Sendable (String) -> Void, onDone: @escaping Completion) {
        self.hearing = .text(onText)
        self.onDone = onDone
    }

    package init(onEvent: @escaping @Sendable (GenerationEvent) -> Void, onDone: @escaping Completion) {
        self.hearing = .events(onEvent)
        self.onDone = onDone
    }

    /// Callbacks for C, which own the observer from here on.
    package func retainedCallbacks() -> mlxe_generate_callbacks_t {
        var callbacks = mlxe_generate_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_generate_callbacks_t>.size
        callbacks.on_event = { context, event in
            // Only what is wanted is read: this runs for every token.
            let event = event!
            switch CallbackContext.borrowed(context, as: GenerationObserver.self).hearing {
            case .text(let onText):
                if event.pointee.text_len > 0 {
                    onText(event.pointee.copiedText)
                }
            case .events(let onEvent):
                if let event = GenerationEvent(event.pointee) {
                    onEvent(event)
                }
            }
            return MLXE_CONTINUE
        }
        callbacks.on_done = { context, stats, error in
            CallbackContext.borrowed(context, as: GenerationObserver.self).done(stats, error)
        }
        callbacks.drop = CallbackContext.drop
        callbacks.user_data = CallbackContext.retained(self)
        return callbacks
    }

    /// An event that does not come from C.
    func hear(_ event: GenerationEvent) {
        switch (hearing, event) {
        case (.events(let onEvent), _): onEvent(event)
        case (.text(let onText), .token(let token)) where !token.text.isEmpty: onText(token.text)
        case (.text(let onText), .text(let text)): onText(text)
        default: break
        }
    }

    /// The end of what does not come from C.
    func end(_ result: Result<GenerateCompletionInfo, any Error>) {
        onDone(result)
    }

    private func done(_ stats: UnsafePointer<mlxe_generation_stats_t>?, _ error: OpaquePointer?) {
        if let stats {
            onDone(.success(GenerateCompletionInfo(stats.pointee)))
        } else if let error {
            onDone(.failure(EngineError(borrowing: error).orCancellation))
        } else {
            onDone(.failure(EngineError(.internal, "a generation ended with neither statistics nor an error")))
        }
    }
}

extension mlxe_generation_event_t {
    fileprivate var copiedText: String {
        MLXEngine.text(UnsafeRawPointer(text), count: text_len)
    }
}

extension GenerationEvent {
    /// Nil for kinds of later library versions.
    init?(_ event: mlxe_generation_event_t) {
        switch event.kind {
        case MLXE_GENERATION_PREFILL:
            self = .prefill(processed: event.prompt_processed, total: event.prompt_total)
        case MLXE_GENERATION_TOKEN:
            let top = UnsafeBufferPointer(start: event.top, count: event.top_count)
            self = .token(
                GeneratedToken(
                    id: event.token, text: event.copiedText,
                    logprob: event.logprob.given ? Float(event.logprob.value) : nil,
                    top: top.map { TokenLogprob(id: $0.token, logprob: $0.value) }))
        case MLXE_GENERATION_TEXT:
            self = .text(event.copiedText)
        default:
            return nil
        }
    }
}

extension GenerateCompletionInfo {
    init(_ stats: mlxe_generation_stats_t) {
        promptTokenCount = stats.prompt_tokens
        generationTokenCount = stats.generated_tokens
        queueTime = stats.queue_seconds
        promptTime = stats.prompt_seconds
        generateTime = stats.generation_seconds
        timeToFirstToken = stats.time_to_first_token < 0 ? nil : stats.time_to_first_token
        promptTokensPerSecond = stats.prompt_tokens_per_second
        tokensPerSecond = stats.generation_tokens_per_second
        peakMemory = stats.peak_memory_bytes
        seed = stats.seed
        stopReason = GenerateStopReason(rawValue: stats.stop_reason)
        proposedTokenCount = stats.proposed_tokens
        acceptedTokenCount = stats.accepted_tokens
        reusedTokenCount = stats.reused_tokens
        matchedTokenCount = stats.matched_tokens
        reuseEnd = PromptReuseEnd(rawValue: stats.reuse_end)
    }
}
