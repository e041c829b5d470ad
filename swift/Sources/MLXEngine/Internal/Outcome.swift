/// The outcome of long work: set once, awaited any number of times.
final class Outcome<Value: Sendable>: Sendable {
    typealias Waiter = CheckedContinuation<Value, any Error>

    private struct State {
        var result: Result<Value, any Error>?
        var waiters: [Waiter] = []
    }

    private let state = Locked(State())

    func finish(_ result: Result<Value, any Error>) {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            state.result = result
            return state.waiters
        }
        for waiter in waiters {
            waiter.resume(with: result)
        }
    }

    func value() async throws -> Value {
        try await withCheckedThrowingContinuation { waiter in
            let result = state.withLock { state in
                if state.result == nil {
                    state.waiters.append(waiter)
                }
                return state.result
            }
            if let result {
                waiter.resume(with: result)
            }
        }
    }
}
