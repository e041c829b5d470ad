// Stands in for the parts of Apple's FoundationModels 2 (iOS 27, macOS 27) that MLXEngine's bridge uses, written after
// Apple's public documentation, so that the bridge is compiled and run where there is no Apple SDK. It proves that the
// bridge does what it should with these declarations, not that they are Apple's.

public protocol LanguageModel: Sendable {
    associatedtype Executor: LanguageModelExecutor where Self == Executor.Model
    var capabilities: LanguageModelCapabilities { get }
    var executorConfiguration: Executor.Configuration { get }
}

public protocol LanguageModelExecutor: Sendable {
    associatedtype Model: LanguageModel
    associatedtype Configuration: Hashable, Sendable
    init(configuration: Configuration) throws
    func prewarm(model: Model, transcript: Transcript)
    func respond(
        to request: LanguageModelExecutorGenerationRequest, model: Model,
        streamingInto channel: LanguageModelExecutorGenerationChannel) async throws
}

extension LanguageModelExecutor {
    public func prewarm(model: Model, transcript: Transcript) {}
}

public struct LanguageModelCapabilities: Sendable {
    public struct Capability: Sendable, Hashable {}
    public let all: [Capability]
    public init(_ capabilities: [Capability]) { all = capabilities }
}

public struct GenerationOptions: Sendable {
    public struct SamplingMode: Sendable {
        public enum Kind: Sendable {
            case greedy
            case randomTopK(Int, seed: UInt64?)
            case randomProbabilityThreshold(Double, seed: UInt64?)
        }
        public let kind: Kind
        public init(kind: Kind) { self.kind = kind }
    }
    public var samplingMode: SamplingMode?
    public var temperature: Double?
    public var maximumResponseTokens: Int?
    public init(samplingMode: SamplingMode? = nil, temperature: Double? = nil, maximumResponseTokens: Int? = nil) {
        (self.samplingMode, self.temperature) = (samplingMode, temperature)
        self.maximumResponseTokens = maximumResponseTokens
    }
}

public struct GeneratedContent: Sendable {
    public let jsonString: String
}

public struct Transcript: Sendable, RandomAccessCollection {
    public enum Segment: Sendable {
        case text(TextSegment)
        case structure(StructuredSegment)
        case other
    }
    public struct TextSegment: Sendable {
        public let content: String
        public init(content: String) { self.content = content }
    }
    public struct StructuredSegment: Sendable { public let content: GeneratedContent }
    public struct Part: Sendable {
        public let segments: [Segment]
        public init(_ text: String) { segments = [.text(TextSegment(content: text))] }
    }
    public enum Entry: Sendable {
        case instructions(Part)
        case prompt(Part)
        case response(Part)
        case toolOutput(Part)
        case reasoning(Part)
    }
    public let entries: [Entry]
    public init(entries: [Entry]) { self.entries = entries }
    public var startIndex: Int { entries.startIndex }
    public var endIndex: Int { entries.endIndex }
    public subscript(index: Int) -> Entry { entries[index] }
}

public struct LanguageModelExecutorGenerationRequest: Sendable {
    public let transcript: Transcript
    public let generationOptions: GenerationOptions
    public init(transcript: Transcript, generationOptions: GenerationOptions) {
        (self.transcript, self.generationOptions) = (transcript, generationOptions)
    }
}

public struct LanguageModelExecutorGenerationChannel: Sendable {
    public struct Event: Sendable {
        public struct Action: Sendable {
            public let text: String
            public static func appendText(_ text: String, segmentID: String? = nil, tokenCount: Int) -> Action {
                Action(text: text)
            }
        }
        public let action: Action
        public static func response(entryID: String?, action: Action) -> Event { Event(action: action) }
    }
    private let receive: @Sendable (String) -> Void
    public init(_ receive: @escaping @Sendable (String) -> Void) { self.receive = receive }
    public func send(_ event: Event) async { receive(event.action.text) }
}

public enum LanguageModelError: Error {
    case contextSizeExceeded(ContextSizeExceeded)
    public struct ContextSizeExceeded: Sendable {
        public let contextSize: Int
        public let tokenCount: Int
        public init(contextSize: Int, tokenCount: Int, debugDescription: String, metadata: [String: any Sendable]) {
            (self.contextSize, self.tokenCount) = (contextSize, tokenCount)
        }
    }
}

public final class LanguageModelSession {
    public struct Response<Content> { public let content: Content }
    public init(model: some LanguageModel, instructions: String? = nil) {}
    public func respond(to prompt: String) async throws -> Response<String> { fatalError("a declaration only") }
}
