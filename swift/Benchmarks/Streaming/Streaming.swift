// What streaming in Swift costs a token, over the C API.
//
//     make bench-swift
//
// A model's own time varies by more than that, so the same event is fed to both directly, in turns: to a C callback
// that counts bytes, and to the observer behind `LanguageModel.stream`, whose text another task takes out of the
// stream. Then the same answer of the small model is generated both ways, for the whole difference.
import CMLXEngine
import Foundation
import MLXEngine

let events = 200_000
let rounds = 9

@main
struct Streaming {
    static func main() async throws {
        var (c, observer, stream): ([Double], [Double], [Double]) = ([], [], [])
        for _ in 0..<rounds {
            c.append(feedC())
            observer.append(feedObserver())
            stream.append(try await feedStream())
        }
        let line = String(
            format: "a token's event: C %.0f ns; Swift text %.0f ns; taken from a stream by another task %.0f ns",
            median(c), median(observer), median(stream))
        print(line)
        print(String(format: "Swift streaming adds %.0f ns a token to the C API", median(stream) - median(c)))
        if let directory = CommandLine.arguments.dropFirst().first {
            try await compareAnswers(URL(filePath: directory))
        }
    }

    /// An event as the library makes it.
    static func withEvent(_ body: (inout mlxe_generation_event_t) -> Void) {
        " meadow".withCString { text in
            var event = mlxe_generation_event_t()
            event.struct_size = MemoryLayout<mlxe_generation_event_t>.size
            (event.kind, event.token, event.text, event.text_len) = (MLXE_GENERATION_TOKEN, 17, text, 7)
            body(&event)
        }
    }

    /// Nanoseconds an event, for a callback that counts bytes as a C program would.
    static func feedC() -> Double {
        var callbacks = mlxe_generate_callbacks_t()
        callbacks.on_event = { context, event in
            context!.assumingMemoryBound(to: Int.self).pointee += event!.pointee.text_len
            return MLXE_CONTINUE
        }
        var count = 0
        let time = withUnsafeMutablePointer(to: &count) { count in
            callbacks.user_data = UnsafeMutableRawPointer(count)
            return nanoseconds { feed(callbacks) }
        }
        precondition(count == 7 * events)
        return time
    }

    /// The same, for the observer with a handler that counts bytes.
    static func feedObserver() -> Double {
        let count = Counter()
        let callbacks = GenerationObserver(onText: { count.value += $0.utf8.count }, onDone: { _ in })
            .retainedCallbacks()
        let time = nanoseconds { feed(callbacks) }
        callbacks.drop(callbacks.user_data)
        precondition(count.value == 7 * events)
        return time
    }

    /// The same, until another task has taken all text out of the stream.
    static func feedStream() async throws -> Double {
        let queue = EventQueue<Generation>()
        let callbacks = GenerationObserver(onText: { queue.send(.chunk($0)) }, onDone: { _ in }).retainedCallbacks()
        let taker = Task {
            var count = 0
            while let event = try await queue.next() {
                count += event.chunk?.utf8.count ?? 0
            }
            return count
        }
        let start = ContinuousClock.now
        feed(callbacks)
        queue.finish()
        let count = try await taker.value
        let time = (ContinuousClock.now - start) / Double(events)
        callbacks.drop(callbacks.user_data)
        precondition(count == 7 * events)
        return nanoseconds(time)
    }

    @inline(never)
    static func feed(_ callbacks: mlxe_generate_callbacks_t) {
        withEvent { event in
            for _ in 0..<events {
                _ = callbacks.on_event(callbacks.user_data, &event)
            }
        }
    }

    static func nanoseconds(_ body: () -> Void) -> Double {
        let start = ContinuousClock.now
        body()
        return nanoseconds((ContinuousClock.now - start) / Double(events))
    }

    static func nanoseconds(_ time: Duration) -> Double {
        Double(time.components.attoseconds) / 1e9 + Double(time.components.seconds) * 1e9
    }

    static func median(_ values: [Double]) -> Double {
        values.sorted()[values.count / 2]
    }

    /// Milliseconds a token of the same answer, with a callback and with a stream.
    static func compareAnswers(_ directory: URL) async throws {
        let model = try await LanguageModel.load(directory: directory)
        let input = ModelInput.chat([.user("Tell me a long story about a penguin called Mireille.")])
        let parameters = GenerateParameters(maxTokens: 200)
        var (whole, streamed): ([Double], [Double]) = ([], [])
        for _ in 0..<rounds {
            whole.append(try await model.generate(input, parameters: parameters).info.perToken)
            for try await event in model.stream(input, parameters: parameters) {
                if let info = event.info {
                    streamed.append(info.perToken)
                }
            }
        }
        print(
            String(
                format: "a token of the small model: collected %.3f ms, streamed %.3f ms", median(whole) * 1e3,
                median(streamed) * 1e3))
    }
}

final class Counter: @unchecked Sendable {
    var value = 0
}

extension GenerateCompletionInfo {
    var perToken: Double {
        generateTime / Double(max(generationTokenCount, 1))
    }
}
