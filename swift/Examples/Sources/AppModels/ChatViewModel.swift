import Foundation
import MLXEngine
import Observation

/// A chat with a model: the bubbles, the text field, the stop button, the progress of a load.
@MainActor @Observable
public final class ChatViewModel {
    /// A message on the screen.
    public struct Bubble: Identifiable, Sendable, Equatable {
        /// What became of an answer.
        public enum State: Sendable, Equatable {
            /// It is being written.
            case streaming
            /// It is complete.
            case done
            /// The user stopped it.
            case stopped
            /// It failed, with this message.
            case failed(String)
        }

        /// Tells bubbles apart.
        public let id: Int
        /// Whether the user wrote it.
        public let isUser: Bool
        /// The text so far.
        public var text: String
        /// What became of it.
        public var state: State
    }

    /// Loads the model, and shows how far that is.
    public let loader: ModelLoader

    /// The messages, the oldest first.
    public private(set) var bubbles: [Bubble] = []

    /// What is in the text field.
    public var draft = ""

    /// What the user chose. Takes effect with the next message; the instructions with the next chat.
    public var settings: ChatSettings {
        didSet {
            session?.generateParameters = settings.parameters
            try? MLXProcess.set(ProcessOptions(cacheLimit: UInt64(settings.cacheMegabytes) << 20))
        }
    }

    /// A line about the last answer's speed and memory.
    public private(set) var statistics: String?

    private var session: ChatSession?
    private var answer: Task<Void, Never>?

    /// A chat without a model.
    public init(loader: ModelLoader = ModelLoader(), settings: ChatSettings = ChatSettings()) {
        self.loader = loader
        self.settings = settings
    }

    /// Whether an answer is being written.
    public var isResponding: Bool {
        answer != nil
    }

    /// Whether the draft can be sent.
    public var canSend: Bool {
        loader.model != nil && !isResponding && !draft.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty
    }

    /// Loads a model and begins a new chat with it.
    public func open(_ configuration: ModelConfiguration) async {
        stop()
        await loader.load(configuration).value
        startChat()
    }

    /// Begins anew with the same model.
    public func startChat() {
        stop()
        bubbles = []
        statistics = nil
        session = loader.model.map {
            ChatSession(
                $0, instructions: settings.instructions.isEmpty ? nil : settings.instructions,
                generateParameters: settings.parameters)
        }
    }

    /// Sends the draft.
    @discardableResult
    public func send() -> Task<Void, Never>? {
        guard canSend, let session else { return nil }
        let question = draft.trimmingCharacters(in: .whitespacesAndNewlines)
        draft = ""
        add(isUser: true, text: question, state: .done)
        let place = add(isUser: false, text: "", state: .streaming)
        let task = Task {
            do {
                for try await event in session.streamDetails(to: question) {
                    // A new chat may have begun.
                    guard bubbles.indices.contains(place), !Task.isCancelled else { break }
                    switch event {
                    case .chunk(let text): bubbles[place].text += text
                    case .info(let info): statistics = info.summary()
                    }
                }
                end(place, Task.isCancelled ? .stopped : .done)
            } catch {
                end(place, .failed(error.localizedDescription))
            }
        }
        answer = task
        return task
    }

    /// Stops the answer that is being written. What is there stays.
    public func stop() {
        answer?.cancel()
        answer = nil
        if let last = bubbles.indices.last, bubbles[last].state == .streaming {
            bubbles[last].state = .stopped
        }
    }

    @discardableResult
    private func add(isUser: Bool, text: String, state: Bubble.State) -> Int {
        bubbles.append(Bubble(id: bubbles.count, isUser: isUser, text: text, state: state))
        return bubbles.count - 1
    }

    private func end(_ place: Int, _ state: Bubble.State) {
        guard bubbles.indices.contains(place), bubbles[place].state == .streaming else { return }
        bubbles[place].state = state
        answer = nil
    }
}
