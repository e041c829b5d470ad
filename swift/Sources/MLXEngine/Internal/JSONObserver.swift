import CMLXEngine

/// Receives the result of a search or an estimate.
final class JSONObserver: Sendable {
    private let onDone: @Sendable (Result<String, any Error>) -> Void

    private init(onDone: @escaping @Sendable (Result<String, any Error>) -> Void) {
        self.onDone = onDone
    }

    /// Does work that `start` starts. `onDone` is called exactly once: on a thread of the library, or before this
    /// returns if the work is not accepted.
    static func run(
        slot: TaskSlot, onDone: @escaping @Sendable (Result<String, any Error>) -> Void,
        start: (JSONObserver, TaskSlot) throws -> Void
    ) {
        do {
            try start(JSONObserver(onDone: onDone), slot)
        } catch {
            onDone(.failure(error))
        }
    }

    /// Calls the C function that starts the work, once.
    func start(
        _ slot: TaskSlot, _ call: (UnsafePointer<mlxe_json_callbacks_t>, inout OpaquePointer?) -> OpaquePointer?
    ) throws(EngineError) {
        var callbacks = mlxe_json_callbacks_t()
        callbacks.struct_size = MemoryLayout<mlxe_json_callbacks_t>.size
        callbacks.on_done = { context, json, error in
            let onDone = CallbackContext.borrowed(context, as: JSONObserver.self).onDone
            if let json = text(json) {
                onDone(.success(json))
            } else if let error {
                onDone(.failure(EngineError(borrowing: error).orCancellation))
            } else {
                onDone(.failure(EngineError(.internal, "the work ended with neither a result nor an error")))
            }
        }
        callbacks.drop = CallbackContext.drop
        callbacks.user_data = CallbackContext.retained(self)
        try slot.start { task in withUnsafePointer(to: callbacks) { call($0, &task) } }
    }
}
