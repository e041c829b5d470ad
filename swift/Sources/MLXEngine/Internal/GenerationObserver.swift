import CMLXEngine

/// Receives what C says of a generation. C calls one function at a time.
package final class GenerationObserver: Sendable {
    package typealias Completion = @Sendable (Result<GenerateCompletionInfo, any Error>) -> Void

    private let onText: @Sendable (String) -> Void
    private let onDone: Completion

    package init(onText: @escaping @Sendable (String) -> Void, onDone: @escaping Completion) {
        self.onText = onText
        self.onDone = onDone
    }

    /// Callbacks for C, which own the observer from here on.
    package func retainedCallbacks() -> mlxe_generate_callbacks_t {
        var callbacks = mlxe_generate_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_generate_callbacks_t>.size
        callbacks.on_event = { context, event in
            // The text is all that is read here: this is what each token costs.
            let event = event!
            if event.pointee.text_len > 0 {
                let text = text(UnsafeRawPointer(event.pointee.text), count: event.pointee.text_len)
                CallbackContext.borrowed(context, as: GenerationObserver.self).onText(text)
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

extension GenerateCompletionInfo {
    init(_ stats: mlxe_generation_stats_t) {
        promptTokenCount = stats.prompt_tokens
        generationTokenCount = stats.generated_tokens
        promptTime = stats.prompt_seconds
        generateTime = stats.generation_seconds
        timeToFirstToken = stats.time_to_first_token < 0 ? nil : stats.time_to_first_token
        promptTokensPerSecond = stats.prompt_tokens_per_second
        tokensPerSecond = stats.generation_tokens_per_second
        peakMemory = stats.peak_memory_bytes
        seed = stats.seed
        stopReason = GenerateStopReason(rawValue: stats.stop_reason)
    }
}

extension GenerateParameters {
    func withCOptions<Result>(_ body: (UnsafePointer<mlxe_generate_options_t>) throws -> Result) throws -> Result {
        var options = mlxe_generate_options_t()
        mlxe_generate_options_init(&options, MemoryLayout<mlxe_generate_options_t>.size)
        func set<Value: FixedWidthInteger>(
            _ field: WritableKeyPath<mlxe_generate_options_t, Value>, _ value: Int?, _ name: String
        ) throws {
            guard let value else { return }
            guard let exact = Value(exactly: value) else {
                throw EngineError(.invalidArgument, "GenerateParameters.\(name) is \(value)")
            }
            options[keyPath: field] = exact
        }
        try set(\.max_tokens, maxTokens, "maxTokens")
        try set(\.max_context, maxContext, "maxContext")
        try set(\.top_k, topK, "topK")
        try set(\.penalty_window, repetitionContextSize, "repetitionContextSize")
        try set(\.max_kv_size, maxKVSize, "maxKVSize")
        try set(\.kv_bits, kvBits, "kvBits")
        try set(\.kv_group_size, kvGroupSize, "kvGroupSize")
        try set(\.kv_quantized_start, quantizedKVStart, "quantizedKVStart")
        try set(\.prefill_step, prefillStepSize, "prefillStepSize")
        options.temperature = temperature
        options.top_p = topP
        options.min_p = minP
        options.repetition_penalty = repetitionPenalty ?? options.repetition_penalty
        options.presence_penalty = presencePenalty ?? options.presence_penalty
        options.frequency_penalty = frequencyPenalty ?? options.frequency_penalty
        options.has_seed = seed != nil
        options.seed = seed ?? 0
        let biases = logitBias.map { mlxe_token_value_t(token: $0.key, value: $0.value) }
        return try withStrs(stop) { stop in
            try biases.withUnsafeBufferPointer { biases in
                try extraEOSTokens.withUnsafeBufferPointer { eos in
                    options.stop = stop.baseAddress
                    options.stop_count = stop.count
                    options.logit_bias = biases.baseAddress
                    options.logit_bias_count = biases.count
                    options.extra_eos = eos.baseAddress
                    options.extra_eos_count = eos.count
                    return try body(&options)
                }
            }
        }
    }
}
