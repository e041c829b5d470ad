// A chat on the command line.
//
//     swift run chat MODEL-DIRECTORY [QUESTION...]
//
// With questions it answers them and ends; without it reads them from standard input.
import Foundation
import MLXEngine

@main
struct Chat {
    static func main() async {
        do {
            try await run(Array(CommandLine.arguments.dropFirst()))
        } catch {
            FileHandle.standardError.write(Data("chat: \(error)\n".utf8))
            exit(1)
        }
    }

    static func run(_ arguments: [String]) async throws {
        guard let directory = arguments.first else {
            print("usage: chat MODEL-DIRECTORY [QUESTION...]")
            return
        }
        let loading = LanguageModel.loading(directory: URL(filePath: directory))
        for try await phase in loading {
            FileHandle.standardError.write(
                Data(String(format: "%3.0f%% %@\n", phase.estimatedProgress * 100, phase.description).utf8))
        }
        let session = ChatSession(try await loading.model)
        let questions = arguments.dropFirst()
        for question in questions {
            print("> \(question)")
            try await answer(question, session)
        }
        while questions.isEmpty, let question = prompt() {
            try await answer(question, session)
        }
    }

    static func prompt() -> String? {
        print("> ", terminator: "")
        fflush(nil)
        return readLine()
    }

    static func answer(_ question: String, _ session: ChatSession) async throws {
        for try await event in session.streamDetails(to: question) {
            switch event {
            case .chunk(let text):
                print(text, terminator: "")
                fflush(nil)
            case .info(let info):
                print()
                FileHandle.standardError.write(Data("[\(info.summary())]\n".utf8))
            }
        }
    }
}
