import CMLXEngine
import Foundation

/// Owns a handle of the C library and frees it.
///
/// Sendable, because the C library's handles may be used on any thread.
final class Handle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let free: (OpaquePointer?) -> Void

    init(_ pointer: OpaquePointer, free: @escaping @Sendable (OpaquePointer?) -> Void) {
        self.pointer = pointer
        self.free = free
    }

    deinit {
        free(pointer)
    }
}

extension EngineError {
    /// Reads an error that the C library still owns.
    init(borrowing error: OpaquePointer) {
        self.init(
            Code(mlxe_error_code(error)), String(cString: mlxe_error_message(error)),
            summary: String(cString: mlxe_error_summary(error)))
    }
}

/// Throws the error that a C function returned, and frees it.
func check(_ error: OpaquePointer?) throws(EngineError) {
    guard let error else { return }
    defer { mlxe_error_free(error) }
    throw EngineError(borrowing: error)
}

/// Calls a C function that writes a handle, and owns that handle.
func make(
    free: @escaping @Sendable (OpaquePointer?) -> Void, _ call: (inout OpaquePointer?) -> OpaquePointer?
) throws(EngineError) -> Handle {
    var out: OpaquePointer?
    try check(call(&out))
    guard let out else { throw EngineError(.internal, "a C function succeeded without a result") }
    return Handle(out, free: free)
}

/// Calls a C function that writes text.
func makeString(_ call: (inout OpaquePointer?) -> OpaquePointer?) throws(EngineError) -> String {
    let string = try make(free: { mlxe_string_free($0) }, call)
    return text(UnsafeRawPointer(mlxe_string_data(string.pointer)), count: mlxe_string_len(string.pointer))
}

/// Calls a C function that writes token ids.
func makeTokens(_ call: (inout OpaquePointer?) -> OpaquePointer?) throws(EngineError) -> [Token] {
    let tokens = try make(free: { mlxe_tokens_free($0) }, call)
    return Array(
        UnsafeBufferPointer(start: mlxe_tokens_data(tokens.pointer), count: mlxe_tokens_len(tokens.pointer)))
}

/// A copy of UTF-8 text, which may contain NULs.
func text(_ data: UnsafeRawPointer?, count: Int) -> String {
    String(decoding: UnsafeRawBufferPointer(start: data, count: data == nil ? 0 : count), as: UTF8.self)
}

/// A copy of NUL-terminated text; nil for NULL.
func text(_ data: UnsafePointer<CChar>?) -> String? {
    data.map { String(cString: $0) }
}

extension URL {
    /// The path of a file URL.
    var checkedPath: String {
        get throws(EngineError) {
            guard isFileURL else {
                throw EngineError(.invalidArgument, "\(absoluteString) is not the URL of a file or folder")
            }
            return path
        }
    }
}

/// Lends a string to C for the duration of a call.
func withStr<Result>(_ string: String, _ body: (mlxe_str_t) throws -> Result) rethrows -> Result {
    var string = string
    return try string.withUTF8 { utf8 in
        try body(mlxe_str_t(data: utf8.withMemoryRebound(to: CChar.self) { $0.baseAddress }, len: utf8.count))
    }
}

/// Lends a string to C; the empty one if there is none.
func withStr<Result>(_ string: String?, _ body: (mlxe_str_t) throws -> Result) rethrows -> Result {
    try withStr(string ?? "", body)
}

/// Lends several strings to C for the duration of a call.
func withStrs<Result>(
    _ strings: [String], _ body: (UnsafeBufferPointer<mlxe_str_t>) throws -> Result
) rethrows -> Result {
    let bytes = strings.map { Array($0.utf8) }
    return try bytes.joined().map { CChar(bitPattern: $0) }.withUnsafeBufferPointer { all in
        var start = 0
        let strs = bytes.map { one in
            defer { start += one.count }
            return mlxe_str_t(data: all.baseAddress.map { $0 + start }, len: one.count)
        }
        return try strs.withUnsafeBufferPointer(body)
    }
}
