import CMLXEngine

/// The one place where objects are passed to C and released.
///
/// A C function that takes callbacks promises to call `drop` with `user_data` exactly once, whether it accepted the
/// callbacks or rejected them. So ``retained(_:)`` is called once for each such call and nothing else releases.
enum CallbackContext {
    /// Gives C a reference.
    static func retained(_ object: some AnyObject & Sendable) -> UnsafeMutableRawPointer {
        Unmanaged.passRetained(object).toOpaque()
    }

    /// Borrows the object inside a callback.
    static func borrowed<Object: AnyObject>(_ pointer: UnsafeMutableRawPointer?, as type: Object.Type) -> Object {
        Unmanaged<Object>.fromOpaque(pointer!).takeUnretainedValue()
    }

    /// Takes the reference back: what C calls as `drop`.
    static let drop: @convention(c) (UnsafeMutableRawPointer?) -> Void = { pointer in
        Unmanaged<AnyObject>.fromOpaque(pointer!).release()
    }
}
