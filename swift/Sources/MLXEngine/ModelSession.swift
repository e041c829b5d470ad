import Foundation
import Observation

/// A conversation in the shape of Apple's `LanguageModelSession`, on every system that this package runs on.
///
/// ```swift
/// let session = ModelSession(model: model, instructions: "Answer in one word.")
/// let response = try await session.respond(to: "What is the capital of Kenya?")
/// print(response.content)
/// ```
///
/// Observable, so that a view follows ``transcript`` and ``isResponding``. On iOS 27 and macOS 27 Apple's own session takes a ``LanguageModel`` too; see <doc:FoundationModels>.
public final class ModelSession: Sendable, Observable {
    /// How to answer a request.
    public struct Options: Sendable, Hashable {
        /// How tokens are chosen.
        public enum SamplingMode: Sendable, Hashable {
            /// Always the most likely token.
            case greedy
            /// Sampled from a fixed number of the most likely tokens.
            case top(Int, seed: UInt64? = nil)
            /// Sampled from the most likely tokens whose probabilities add up to this.
            case probabilityThreshold(Double, seed: UInt64? = nil)
        }

        /// How tokens are chosen; nil leaves it to the temperature.
        public var samplingMode: SamplingMode?
        /// Higher values make the choice more random; nil means 0 without a sampling mode or with `greedy`, otherwise
        /// 1.
        public var temperature: Double?
        /// The most tokens of the answer; nil for no limit but the context's.
        public var maximumResponseTokens: Int?

        /// Options for a request.
        public init(
            samplingMode: SamplingMode? = nil, temperature: Double? = nil, maximumResponseTokens: Int? = nil
        ) {
            self.samplingMode = samplingMode
            self.temperature = temperature
            self.maximumResponseTokens = maximumResponseTokens
        }

        var parameters: GenerateParameters {
            var parameters = GenerateParameters(
                maxTokens: maximumResponseTokens, temperature: Float(temperature ?? 0))
            switch samplingMode {
            case nil:
                break
            case .greedy:
                parameters.temperature = 0
            case .top(let count, let seed):
                parameters.temperature = Float(temperature ?? 1)
                (parameters.topK, parameters.seed) = (count, seed)
            case .probabilityThreshold(let threshold, let seed):
                parameters.temperature = Float(temperature ?? 1)
                (parameters.topP, parameters.seed) = (Float(threshold), seed)
            }
            return parameters
        }
    }

    /// An answer.
    public struct Response: Sendable, Hashable {
        /// The text.
        public let content: String
        /// Statistics.
        public let info: GenerateCompletionInfo
    }

    /// An answer as it grows. It ends as ``GenerationStream`` does.
    public struct ResponseStream: AsyncSequence, Sendable {
        /// All of the answer so far.
        public struct Snapshot: Sendable, Hashable {
            /// The text.
            public let content: String
        }

        public typealias Element = Snapshot

        let events: GenerationStream<Generation>

        public func makeAsyncIterator() -> AsyncIterator {
            AsyncIterator(events: events.makeAsyncIterator())
        }

        /// Waits for the whole answer.
        ///
        /// - Throws: ``EngineError``, or `CancellationError` if it was cancelled.
        public func collect() async throws -> Response {
            var (content, info): (String, GenerateCompletionInfo?) = ("", nil)
            for try await event in events {
                switch event {
                case .chunk(let text): content += text
                case .info(let all): info = all
                }
            }
            guard let info, info.stopReason != .cancelled else { throw CancellationError() }
            return Response(content: content, info: info)
        }

        /// Yields the answer so far, each time it has grown.
        public struct AsyncIterator: AsyncIteratorProtocol, Sendable {
            var events: GenerationStream<Generation>.AsyncIterator
            var content = ""

            public mutating func next() async throws -> Snapshot? {
                while let event = try await events.next() {
                    if let text = event.chunk {
                        content += text
                        return Snapshot(content: content)
                    }
                }
                return nil
            }
        }
    }

    private let chat: ChatSession

    /// A conversation.
    ///
    /// - Parameters:
    ///   - model: The model that answers.
    ///   - instructions: How it should behave.
    ///   - transcript: Earlier messages to continue from.
    ///   - contextPolicy: What to do when the conversation no longer fits the context.
    public init(
        model: LanguageModel, instructions: String? = nil, transcript: [ChatMessage] = [],
        contextPolicy: ContextPolicy = .fail
    ) {
        chat = ChatSession(model, instructions: instructions, history: transcript, contextPolicy: contextPolicy)
    }

    /// The messages so far, including the instructions.
    public var transcript: [ChatMessage] {
        chat.messages
    }

    /// Whether a request is being answered.
    public var isResponding: Bool {
        chat.isResponding
    }

    /// Waits until all requests made so far are over and the transcript has their answers.
    public func settled() async {
        await chat.settled()
    }

    /// Ends all requests made so far within one token each, and waits as ``settled()`` does.
    public func stop() async {
        await chat.stop()
    }

    /// Asks, and waits for the answer. The transcript has it when this returns.
    ///
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func respond(to prompt: String, options: Options = Options()) async throws -> Response {
        try await streamResponse(to: prompt, options: options).collect()
    }

    /// Asks, and streams the answer. The transcript has it when the loop has ended by itself; after leaving the loop it
    /// has what was answered by then once ``settled()`` returns.
    public func streamResponse(to prompt: String, options: Options = Options()) -> ResponseStream {
        ResponseStream(events: chat.stream(to: prompt, role: .user, parameters: options.parameters) { $0 })
    }
}
