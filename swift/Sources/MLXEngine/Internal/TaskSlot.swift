import CMLXEngine

/// Connects a cancel request with its C task, whichever comes first.
final class TaskSlot: Sendable {
    private struct State {
        var task: Handle?
        var isCancelled = false
        var isPaused = false
    }

    private let state = Locked(State())

    /// Whether cancelling was requested.
    var isCancelled: Bool {
        state.withLock { $0.isCancelled }
    }

    /// Starts a task and keeps it.
    func start(_ call: (inout OpaquePointer?) -> OpaquePointer?) throws(EngineError) {
        let task = try make(free: { mlxe_task_free($0) }, call)
        let (cancelNow, pauseNow) = state.withLock { state in
            state.task = task
            return (state.isCancelled, state.isPaused)
        }
        if cancelNow {
            mlxe_task_cancel(task.pointer)
        }
        if pauseNow {
            mlxe_task_pause(task.pointer)
        }
    }

    /// Asks the task to stop, now or as soon as it has started.
    func cancel() {
        let task = state.withLock { state in
            state.isCancelled = true
            return state.task
        }
        if let task {
            mlxe_task_cancel(task.pointer)
        }
    }

    /// Pauses the task, now or as soon as it has started.
    func pause() {
        setPaused(true)
    }

    /// Resumes it.
    func resume() {
        setPaused(false)
    }

    private func setPaused(_ paused: Bool) {
        // Under the lock, so that the last request wins.
        state.withLock { state in
            state.isPaused = paused
            if let task = state.task {
                paused ? mlxe_task_pause(task.pointer) : mlxe_task_resume(task.pointer)
            }
        }
    }
}
