import CMLXEngine
import Foundation

/// A loaded model. Its weights are freed with the last reference and the last generation.
///
/// ```swift
/// let model = try await LanguageModel.load(directory: folder)
/// let answer = try await model.generate(.chat([.user("What is the capital of France?")]))
/// print(answer.text)
/// ```
public final class LanguageModel: Sendable {
    let handle: Handle

    /// Facts about the model.
    public let info: ModelInfo

    /// Its tokenizer.
    public let tokenizer: Tokenizer

    init(_ handle: Handle) throws {
        self.handle = handle
        info = try decodeJSON(ModelInfo.self, makeString { mlxe_model_info_json(handle.pointer, &$0) })
        tokenizer = Tokenizer(
            try make(free: { mlxe_tokenizer_free($0) }) { mlxe_model_tokenizer(handle.pointer, &$0) })
    }

    /// The model's `config.json`, as read.
    public func configuration() throws -> String {
        try makeString { mlxe_model_config_json(handle.pointer, &$0) }
    }
}
