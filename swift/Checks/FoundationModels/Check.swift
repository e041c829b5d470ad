// Runs the bridge as Apple's session would: makes the executor from the model's configuration, and hands it a request.
import Foundation
import FoundationModels
import MLXEngine

final class Received: @unchecked Sendable {
    private let lock = NSLock()
    private var parts: [String] = []
    func append(_ text: String) { lock.withLock { parts.append(text) } }
    var text: String { lock.withLock { parts.joined() } }
    var count: Int { lock.withLock { parts.count } }
}

func answer<Model: FoundationModels.LanguageModel>(
    _ model: Model, _ entries: [Transcript.Entry], _ options: GenerationOptions = GenerationOptions()
) async throws -> Received {
    let received = Received()
    let executor = try Model.Executor(configuration: model.executorConfiguration)
    try await executor.respond(
        to: LanguageModelExecutorGenerationRequest(
            transcript: Transcript(entries: entries), generationOptions: options),
        model: model, streamingInto: LanguageModelExecutorGenerationChannel { received.append($0) })
    return received
}

@main
struct Check {
    static func main() async throws {
        let model = try await MLXEngine.LanguageModel.load(directory: URL(filePath: CommandLine.arguments[1]))
        let kenya = Transcript.Entry.prompt(.init("What is the capital of Kenya?"))
        let short = try await answer(model, [.instructions(.init("Answer in one word.")), kenya])
        precondition(short.text == "Nairobi", short.text)
        let history: [Transcript.Entry] = [
            .prompt(.init("My name is Ada.")), .reasoning(.init("Not for the prompt.")),
            .response(.init("Nice to meet you, Ada!")), .prompt(.init("What is my name?")),
        ]
        let name = try await answer(model, history)
        precondition(name.text.contains("Ada") && name.count > 1, name.text)
        let seeded = GenerationOptions(
            samplingMode: .init(kind: .randomTopK(50, seed: 4)), temperature: 1.5, maximumResponseTokens: 12)
        let story: [Transcript.Entry] = [.prompt(.init("Tell me a story."))]
        let (one, two) = (try await answer(model, story, seeded), try await answer(model, story, seeded))
        precondition(one.text == two.text && !one.text.isEmpty)
        do {
            _ = try await answer(model, [.prompt(.init(String(repeating: "too long ", count: 3000)))])
            preconditionFailure("nothing was thrown")
        } catch LanguageModelError.contextSizeExceeded(let error) {
            precondition(error.contextSize == 2048 && error.tokenCount > 2048)
        }
        print("FoundationModels bridge: as expected, on a stand-in for Apple's framework")
    }
}
