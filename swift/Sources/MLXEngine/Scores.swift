import CMLXEngine

/// How likely given tokens are.
public struct Scores: Sendable, Equatable {
    /// The natural log-probability of each token, given everything before it.
    public let logprobs: [Float]

    /// The token that the model finds most likely in the place of each.
    public let mostLikely: [Token]

    /// The log-probability of all tokens together: the sum of ``logprobs``.
    public let total: Double

    /// e to the mean negative log-probability.
    public let perplexity: Double
}

extension LanguageModel {
    /// Computes how likely a text is after another: the log-probabilities of the model's logits at temperature 1.
    ///
    /// The texts are encoded separately, the first with the tokens that the tokenizer puts around a text. For other
    /// boundaries, and for the perplexity of a whole text, encode them yourself and use the method that takes tokens, which
    /// fails in the same way.
    public func score(_ continuation: String, after prompt: String) async throws -> Scores {
        try await score(
            try tokenizer.encode(continuation, addSpecialTokens: false), after: try tokenizer.encode(prompt))
    }

    /// Computes how likely tokens are after others: the log-probabilities of the model's logits at temperature 1.
    ///
    /// Memory stays bounded, whatever the length. Cancelling the task cancels the work.
    ///
    /// - Parameters:
    ///   - continuation: What is scored. Not empty.
    ///   - prompt: What is before it. Not empty; for the perplexity of a whole text, its first token.
    /// - Throws: ``EngineError``: `invalidArgument`, `contextFull` where both together are longer than the model allows,
    ///   `unsupportedModel` for a ``StandInModel``; `CancellationError`.
    public func score(_ continuation: [Token], after prompt: [Token]) async throws -> Scores {
        guard case .library(let handle) = backing else {
            throw EngineError(.unsupportedModel, "a stand-in has no probabilities")
        }
        let slot = TaskSlot()
        return try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await withCheckedThrowingContinuation { waiter in
                let observer = ScoreObserver { waiter.resume(with: $0) }
                do {
                    try observer.start(handle, continuation, prompt, slot)
                } catch {
                    waiter.resume(throwing: error)
                }
            }
        } onCancel: {
            slot.cancel()
        }
    }
}

/// Receives the end of a score.
private final class ScoreObserver: Sendable {
    private let onDone: @Sendable (Result<Scores, any Error>) -> Void

    init(onDone: @escaping @Sendable (Result<Scores, any Error>) -> Void) {
        self.onDone = onDone
    }

    /// `onDone` is called exactly once if this returns, and not at all if it throws.
    func start(_ model: Handle, _ continuation: [Token], _ prompt: [Token], _ slot: TaskSlot) throws {
        var callbacks = mlxe_score_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_score_callbacks_t>.size
        callbacks.on_done = { context, scores, error in
            CallbackContext.borrowed(context, as: ScoreObserver.self).done(scores, error)
        }
        callbacks.drop = CallbackContext.drop
        callbacks.user_data = CallbackContext.retained(self)
        try prompt.withUnsafeBufferPointer { prompt in
            try continuation.withUnsafeBufferPointer { continuation in
                try slot.start { task in
                    mlxe_score_start(
                        model.pointer, prompt.baseAddress, prompt.count, continuation.baseAddress, continuation.count,
                        &callbacks, &task)
                }
            }
        }
    }

    private func done(_ scores: OpaquePointer?, _ error: OpaquePointer?) {
        if let scores {
            onDone(.success(Scores(scores)))
        } else if let error {
            onDone(.failure(EngineError(borrowing: error).orCancellation))
        } else {
            onDone(.failure(EngineError(.internal, "a score ended with neither a result nor an error")))
        }
    }
}

extension Scores {
    /// A copy of what the C library owns.
    fileprivate init(_ scores: OpaquePointer) {
        let count = mlxe_scores_len(scores)
        logprobs = Array(UnsafeBufferPointer(start: mlxe_scores_logprobs(scores), count: count))
        mostLikely = Array(UnsafeBufferPointer(start: mlxe_scores_most_likely(scores), count: count))
        (total, perplexity) = (mlxe_scores_total(scores), mlxe_scores_perplexity(scores))
    }
}
