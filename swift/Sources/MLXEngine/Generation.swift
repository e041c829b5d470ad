import Foundation

/// The prompt of a generation.
public enum ModelInput: Sendable, Hashable, ExpressibleByStringLiteral {
    /// Text as it is, without a chat template.
    case text(String)
    /// Tokens.
    case tokens([Token])
    /// Messages, rendered by the model's chat template.
    case chat([ChatMessage], options: ChatTemplateOptions = ChatTemplateOptions())

    public init(stringLiteral value: String) {
        self = .text(value)
    }
}

/// What happens in a generation.
public enum Generation: Sendable, Hashable {
    /// The next part of the answer: whole characters, never empty.
    case chunk(String)
    /// Statistics; the last event.
    case info(GenerateCompletionInfo)

    /// The text, if this is one.
    public var chunk: String? {
        switch self {
        case .chunk(let text): text
        case .info: nil
        }
    }

    /// The statistics, if this is them.
    public var info: GenerateCompletionInfo? {
        switch self {
        case .chunk: nil
        case .info(let info): info
        }
    }
}

/// What happens in a generation, token by token. The answer is the concatenated text of all events.
public enum GenerationEvent: Sendable, Hashable {
    /// A part of the prompt was processed.
    case prefill(processed: Int, total: Int)
    /// A token was generated.
    case token(GeneratedToken)
    /// Text that had been held back, because it might have begun a stop string or was an incomplete character.
    case text(String)
    /// Statistics; the last event.
    case info(GenerateCompletionInfo)
}

/// A generated token.
public struct GeneratedToken: Sendable, Hashable {
    /// Its id.
    public let id: Token
    /// The complete characters that are now certain, possibly none.
    public let text: String
    /// The natural logarithm of its probability; nil unless ``GenerateParameters/logprobs`` is set.
    public let logprob: Float?
    /// The most likely tokens, as many as ``GenerateParameters/logprobs`` says, most likely first.
    public let top: [TokenLogprob]
}

/// A candidate token.
public struct TokenLogprob: Sendable, Hashable {
    /// Its id.
    public let id: Token
    /// The natural logarithm of its probability.
    public let logprob: Float
}

/// Why a generation ended.
public struct GenerateStopReason: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The number that the C library uses, one of `MLXE_STOP_*`.
    public let rawValue: Int32

    /// The reason with a number of the C library.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// The model ended its answer.
    public static let stop = GenerateStopReason(rawValue: 1)
    /// A stop string appeared.
    public static let stopText = GenerateStopReason(rawValue: 2)
    /// `max_tokens` was reached.
    public static let length = GenerateStopReason(rawValue: 3)
    /// It was cancelled.
    public static let cancelled = GenerateStopReason(rawValue: 4)
    /// The context is full.
    public static let contextFull = GenerateStopReason(rawValue: 5)
    /// `timeoutSeconds` were over.
    public static let timeout = GenerateStopReason(rawValue: 6)

    static let names: [GenerateStopReason: String] = [
        .stop: "stop", .stopText: "stopText", .length: "length", .cancelled: "cancelled",
        .contextFull: "contextFull", .timeout: "timeout",
    ]

    /// The reason's name, or its number if it has none.
    public var description: String {
        Self.names[self] ?? "reason \(rawValue)"
    }
}

/// Why no more of a prompt was reused.
public struct PromptReuseEnd: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The number that the C library uses, one of `MLXE_REUSE_*`.
    public let rawValue: Int32

    /// The reason with a number of the C library.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// The prefix store is off.
    public static let disabled = PromptReuseEnd(rawValue: 0)
    /// Nothing is stored yet for this model with these cache options.
    public static let nothingStored = PromptReuseEnd(rawValue: 1)
    /// The stored states continue differently.
    public static let differs = PromptReuseEnd(rawValue: 2)
    /// Everything was reused that can be: the last token of a prompt is always processed.
    public static let wholePrompt = PromptReuseEnd(rawValue: 3)
    /// Only whole blocks are reused, so that results are exactly the same.
    public static let block = PromptReuseEnd(rawValue: 4)
    /// A stored state begins like the prompt, but cannot go back to the position where they diverge.
    public static let notTrimmable = PromptReuseEnd(rawValue: 5)
    /// A state that begins like the prompt has been freed.
    public static let evicted = PromptReuseEnd(rawValue: 6)

    static let names: [PromptReuseEnd: String] = [
        .disabled: "disabled", .nothingStored: "nothingStored", .differs: "differs", .wholePrompt: "wholePrompt",
        .block: "block", .notTrimmable: "notTrimmable", .evicted: "evicted",
    ]

    /// The reason's name, or its number if it has none.
    public var description: String {
        Self.names[self] ?? "PromptReuseEnd(\(rawValue))"
    }
}

/// Statistics of a generation.
public struct GenerateCompletionInfo: Sendable, Hashable {
    /// Tokens of the prompt that were processed or reused.
    public var promptTokenCount: Int
    /// Tokens of the answer.
    public var generationTokenCount: Int
    /// Seconds from the start until the engine began to work on it.
    public var queueTime: TimeInterval
    /// Seconds of work on the prompt. While others are decoded in between, their time is not counted.
    public var promptTime: TimeInterval
    /// Seconds from the end of the prompt until the end.
    public var generateTime: TimeInterval
    /// Seconds from the start, queue included, to the first token; nil if there was none.
    public var timeToFirstToken: TimeInterval?
    /// Prompt tokens processed per second, not counting reused ones.
    public var promptTokensPerSecond: Double
    /// Answer tokens per second.
    public var tokensPerSecond: Double
    /// The most bytes MLX has held so far, in the whole process.
    public var peakMemory: UInt64
    /// The seed that was used.
    public var seed: UInt64
    /// Why it ended.
    public var stopReason: GenerateStopReason
    /// Tokens that were proposed by speculation.
    public var proposedTokenCount: Int
    /// Those of them that were accepted.
    public var acceptedTokenCount: Int
    /// Tokens of the prompt whose state was reused from an earlier generation instead of processed.
    public var reusedTokenCount: Int
    /// Length in tokens of the longest prefix that the prompt shares with the state of an earlier generation.
    public var matchedTokenCount: Int
    /// Why no more of the prompt was reused.
    public var reuseEnd: PromptReuseEnd
}

extension GenerateCompletionInfo {
    /// The statistics in a line for people.
    public func summary() -> String {
        String(
            format: "prompt: %d tokens, %.1f tokens/s; answer: %d tokens, %.1f tokens/s; peak memory: %.1f MB",
            promptTokenCount, promptTokensPerSecond, generationTokenCount, tokensPerSecond,
            Double(peakMemory) / 1e6)
    }
}

/// A complete answer.
public struct GenerateResult: Sendable, Hashable {
    /// The answer.
    public let text: String
    /// Statistics.
    public let info: GenerateCompletionInfo
}
