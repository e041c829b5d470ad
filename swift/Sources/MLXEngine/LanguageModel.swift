import CMLXEngine
import Foundation

/// A loaded model. Its weights are freed with the last reference and the last generation.
///
/// ```swift
/// let model = try await LanguageModel.load(directory: folder)
/// let answer = try await model.generate(.chat([.user("What is the capital of France?")]))
/// print(answer.text)
/// ```
///
/// FoundationModels and other packages have types of this name too: <doc:Names>.
public final class LanguageModel: Sendable {
    /// What computes.
    enum Backing: Sendable {
        /// A model of the C library.
        case library(Handle)
        /// No model at all.
        case standIn(StandInModel)
    }

    let backing: Backing

    /// Facts about the model.
    public let info: ModelInfo

    /// Its tokenizer.
    public let tokenizer: Tokenizer

    /// A model of the library, by a name for people.
    init(_ handle: Handle, name: String) throws {
        backing = .library(handle)
        var info = try decodeJSON(ModelInfo.self, makeString { mlxe_model_info_json(handle.pointer, &$0) })
        info.name = name
        self.info = info
        tokenizer = try Tokenizer(
            try make(free: { mlxe_tokenizer_free($0) }) { mlxe_model_tokenizer(handle.pointer, &$0) })
    }

    init(_ model: StandInModel) {
        (backing, info, tokenizer) = (.standIn(model), model.info, Tokenizer())
    }

    var isStandIn: Bool {
        if case .standIn = backing { true } else { false }
    }

    /// The model's `config.json`, as read; `{}` for a ``StandInModel``.
    public func configuration() throws -> String {
        switch backing {
        case .library(let handle): try makeString { mlxe_model_config_json(handle.pointer, &$0) }
        case .standIn: "{}"
        }
    }
}
