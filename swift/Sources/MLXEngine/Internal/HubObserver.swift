import CMLXEngine
import Foundation

/// Receives the events of work on models, of a search, of an estimate or of an unload. C calls one function at a time.
final class HubObserver: Sendable {
    typealias Completion = @Sendable (Result<String, any Error>) -> Void

    private let onProgress: @Sendable (ModelProgress) -> Void
    private let onDone: Completion

    private init(onProgress: @escaping @Sendable (ModelProgress) -> Void, onDone: @escaping Completion) {
        self.onProgress = onProgress
        self.onDone = onDone
    }

    /// Does the work that `start` starts. `onDone` is called exactly once: on a thread of the library, or before this
    /// returns if the work is not accepted.
    static func run(
        slot: TaskSlot, onProgress: @escaping @Sendable (ModelProgress) -> Void, onDone: @escaping Completion,
        start: (HubObserver, TaskSlot) throws -> Void
    ) {
        do {
            try start(HubObserver(onProgress: onProgress, onDone: onDone), slot)
        } catch {
            onDone(.failure(error))
        }
    }

    /// Does the work that `start` starts, and returns its JSON.
    static func result(
        _ onProgress: @escaping @Sendable (ModelProgress) -> Void = { _ in },
        start: (HubObserver, TaskSlot) throws -> Void
    ) async throws -> String {
        let slot = TaskSlot()
        return try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await withCheckedThrowingContinuation { continuation in
                run(slot: slot, onProgress: onProgress, onDone: { continuation.resume(with: $0) }, start: start)
            }
        } onCancel: {
            slot.cancel()
        }
    }

    /// Calls the C function that starts the work, once.
    func start(
        _ slot: TaskSlot, _ call: (UnsafePointer<mlxe_hub_callbacks_t>, inout OpaquePointer?) -> OpaquePointer?
    ) throws(EngineError) {
        var callbacks = mlxe_hub_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_hub_callbacks_t>.size
        callbacks.on_event = { context, event in
            CallbackContext.borrowed(context, as: HubObserver.self).onProgress(ModelProgress(event!.pointee))
            return MLXE_CONTINUE
        }
        callbacks.on_done = { context, json, error in
            CallbackContext.borrowed(context, as: HubObserver.self).done(json, error)
        }
        callbacks.drop = CallbackContext.drop
        callbacks.user_data = CallbackContext.retained(self)
        try slot.start { task in withUnsafePointer(to: callbacks) { call($0, &task) } }
    }

    private func done(_ json: UnsafePointer<CChar>?, _ error: OpaquePointer?) {
        if let json = text(json) {
            onDone(.success(json))
        } else if let error {
            onDone(.failure(EngineError(borrowing: error).orCancellation))
        } else {
            onDone(.failure(EngineError(.internal, "the work ended with neither a result nor an error")))
        }
    }
}
