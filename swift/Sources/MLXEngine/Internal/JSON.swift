import Foundation

/// Reads JSON from the C library.
func decodeJSON<Value: Decodable>(_ type: Value.Type, _ json: String) throws(EngineError) -> Value {
    do {
        return try JSONDecoder().decode(type, from: Data(json.utf8))
    } catch {
        throw EngineError(.internal, "the library's JSON does not fit \(type): \(error)")
    }
}

/// Writes JSON for the C library.
func encodeJSON(_ value: some Encodable) throws(EngineError) -> String {
    do {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    } catch {
        throw EngineError(.invalidArgument, "\(type(of: value)) is no JSON: \(error)")
    }
}
