// Version 2 of the framework, in the SDKs of iOS 27 and macOS 27, has the protocol for third-party models. `#available`
// cannot test for it: it is about the running system, not about the SDK that compiles.
#if canImport(FoundationModels, _version: 2)
import Foundation
import FoundationModels

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension LanguageModel: FoundationModels.LanguageModel {
    /// Text in, text out. Tools and guided generation are not bridged yet; the system refuses requests for them.
    public var capabilities: LanguageModelCapabilities {
        LanguageModelCapabilities([])
    }

    /// Each loaded model has its own executor.
    public var executorConfiguration: Executor.Configuration {
        Executor.Configuration(model: ObjectIdentifier(self))
    }

    /// Answers the requests of Apple's `LanguageModelSession`.
    public struct Executor: LanguageModelExecutor {
        public typealias Model = LanguageModel

        /// Identifies an executor.
        public struct Configuration: Hashable, Sendable {
            let model: ObjectIdentifier
        }

        public init(configuration: Configuration) throws {}

        public func respond(
            to request: LanguageModelExecutorGenerationRequest, model: LanguageModel,
            streamingInto channel: LanguageModelExecutorGenerationChannel
        ) async throws {
            let messages = request.transcript.compactMap(ChatMessage.init)
            let parameters = GenerateParameters(request.generationOptions)
            // One entry for the whole answer.
            let entry = UUID().uuidString
            do {
                for try await event in model.stream(.chat(messages), parameters: parameters) {
                    if let text = event.chunk {
                        await channel.send(.response(entryID: entry, action: .appendText(text, tokenCount: 1)))
                    }
                }
            } catch let error as EngineError where error.code == .contextFull {
                throw LanguageModelError.contextSizeExceeded(
                    .init(
                        contextSize: model.info.contextLength ?? 0,
                        tokenCount: (try? model.tokens(of: .chat(messages)).count) ?? 0,
                        debugDescription: error.message, metadata: [:]))
            }
            try Task.checkCancellation()
        }
    }
}

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension ChatMessage {
    /// Nil for entries that do not go into the prompt, such as the reasoning of earlier turns.
    init?(_ entry: Transcript.Entry) {
        switch entry {
        case .instructions(let instructions):
            self = .system(Self.text(of: instructions.segments))
        case .prompt(let prompt):
            self = .user(Self.text(of: prompt.segments))
        case .response(let response):
            self = .assistant(Self.text(of: response.segments))
        case .toolOutput(let output):
            self = .tool(Self.text(of: output.segments))
        default:
            return nil
        }
    }

    private static func text(of segments: [Transcript.Segment]) -> String {
        segments.compactMap { segment in
            switch segment {
            case .text(let text): text.content
            case .structure(let structure): structure.content.jsonString
            default: nil
            }
        }.joined(separator: "\n")
    }
}

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension GenerateParameters {
    init(_ options: FoundationModels.GenerationOptions) {
        let mode: ModelSession.Options.SamplingMode? =
            switch options.samplingMode?.kind {
            case .greedy: .greedy
            case .randomTopK(let count, let seed): .top(count, seed: seed)
            case .randomProbabilityThreshold(let threshold, let seed): .probabilityThreshold(threshold, seed: seed)
            default: nil
            }
        self =
            ModelSession.Options(
                samplingMode: mode, temperature: options.temperature,
                maximumResponseTokens: options.maximumResponseTokens
            ).parameters
    }
}
#endif
