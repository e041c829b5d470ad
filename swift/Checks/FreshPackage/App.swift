// An app by someone who has read the documentation only.
import Foundation
import MLXEngine
import Observation

@MainActor @Observable
final class Chat {
    private(set) var text = ""
    let loader = ModelLoader()

    func run(_ configuration: ModelConfiguration, _ question: String) async throws {
        await loader.load(configuration).value
        guard let model = loader.model else { throw loader.error ?? EngineError(.internal, "no model") }
        let session = ChatSession(model)
        for try await part in session.streamResponse(to: question) {
            text += part
        }
        precondition(session.messages.count == 2)
    }
}

@main
struct App {
    @MainActor static func main() async throws {
        let (real, standIn) = (Chat(), Chat())
        let folder = URL(filePath: CommandLine.arguments[1])
        try await real.run(ModelConfiguration(directory: folder), "What is the capital of France?")
        try await standIn.run(ModelConfiguration(standIn: StandInModel("Nairobi.")), "And of Kenya?")
        print(real.text, standIn.text)
    }
}
