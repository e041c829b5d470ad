/// Events on their way from a thread of the library to one reader, in order.
package final class EventQueue<Element: Sendable>: Sendable {
    /// Whether a new event replaces the last one, which is still unread.
    package typealias Replaces = @Sendable (_ new: Element, _ unread: Element) -> Bool

    private struct State {
        /// Those before `next` are read.
        var events: [Element] = []
        var next = 0
        /// How it ended; an error is thrown once.
        var end: Result<Element?, any Error>?
        var waiter: CheckedContinuation<Element?, any Error>?

        mutating func take() -> Result<Element?, any Error>? {
            guard next < events.count else {
                defer { if end != nil { end = .success(nil) } }
                return end
            }
            defer {
                next += 1
                if next == events.count {
                    (events, next) = ([], 0)
                }
            }
            return .success(events[next])
        }
    }

    private let state = Locked(State())
    private let replaces: Replaces

    package init(replaces: @escaping Replaces = { _, _ in false }) {
        self.replaces = replaces
    }

    /// Adds an event.
    package func send(_ event: Element) {
        let waiter = state.withLock { state in
            guard state.end == nil else { return CheckedContinuation<Element?, any Error>?.none }
            if let waiter = state.waiter {
                state.waiter = nil
                return waiter
            }
            if state.next < state.events.count, replaces(event, state.events[state.events.count - 1]) {
                state.events[state.events.count - 1] = event
            } else {
                state.events.append(event)
            }
            return nil
        }
        waiter?.resume(returning: event)
    }

    /// Ends the events, with an error or without.
    package func finish(throwing error: (any Error)? = nil) {
        let end: Result<Element?, any Error> = error.map { .failure($0) } ?? .success(nil)
        let waiter = state.withLock { state in
            guard state.end == nil else { return CheckedContinuation<Element?, any Error>?.none }
            defer { state.waiter = nil }
            state.end = state.waiter == nil ? end : .success(nil)
            return state.waiter
        }
        waiter?.resume(with: end)
    }

    /// Waits for the next event; nil after the last one.
    package func next() async throws -> Element? {
        if let result = state.withLock({ $0.take() }) {
            return try result.get()
        }
        return try await withCheckedThrowingContinuation { waiter in
            let result = state.withLock { state -> Result<Element?, any Error>? in
                if let result = state.take() { return result }
                guard state.waiter == nil else { return .failure(EngineError.readTwice) }
                state.waiter = waiter
                return nil
            }
            if let result {
                waiter.resume(with: result)
            }
        }
    }
}

extension EngineError {
    static let readTwice = EngineError(
        .invalidArgument, "these events are read already: one loop reads them, and only once")
}
