import Foundation

/// A conversation in the shape of Apple's `LanguageModelSession`, on every system that this package runs on.
///
/// ```swift
/// let session = ModelSession(model: model, instructions: "Answer in one word.")
/// let response = try await session.respond(to: "What is the capital of Kenya?")
/// print(response.content)
/// ```
///
/// On iOS 27 and macOS 27 Apple's own session takes a ``LanguageModel`` too; see <doc:FoundationModels>.
public final class ModelSession: Sendable {
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

    /// An answer as it grows.
    public struct ResponseStream: AsyncSequence, Sendable {
        /// All of the answer so far.
        public struct Snapshot: Sendable, Hashable {
            /// The text.
            public let content: String
        }

        public typealias Element = Snapshot

        let events: AsyncThrowingStream<Generation, any Error>

        public func makeAsyncIterator() -> AsyncIterator {
            AsyncIterator(events: events.makeAsyncIterator())
        }

        /// Waits for the whole answer.
        public func collect() async throws -> Response {
            var (content, info): (String, GenerateCompletionInfo?) = ("", nil)
            for try await event in events {
                switch event {
                case .chunk(let text): content += text
                case .info(let all): info = all
                }
            }
            guard let info else { throw CancellationError() }
            return Response(content: content, info: info)
        }

        /// Yields the answer so far, each time it has grown.
        public struct AsyncIterator: AsyncIteratorProtocol {
            var events: AsyncThrowingStream<Generation, any Error>.Iterator
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
    public init(model: LanguageModel, instructions: String? = nil, transcript: [ChatMessage] = []) {
        chat = ChatSession(model, instructions: instructions, history: transcript)
    }

    /// The messages so far, including the instructions.
    public var transcript: [ChatMessage] {
        chat.messages
    }

    /// Whether a request is being answered.
    public var isResponding: Bool {
        chat.isResponding
    }

    /// Asks, and waits for the answer.
    ///
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func respond(to prompt: String, options: Options = Options()) async throws -> Response {
        try await streamResponse(to: prompt, options: options).collect()
    }

    /// Asks, and streams the answer. Dropping the stream ends the answer within one token.
    public func streamResponse(to prompt: String, options: Options = Options()) -> ResponseStream {
        ResponseStream(events: chat.stream(to: prompt, role: .user, parameters: options.parameters) { $0 })
    }
}
