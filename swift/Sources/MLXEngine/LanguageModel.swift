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

    /// Unloads the model although references to it are left, and returns when its memory is free, so that another can be
    /// loaded without room for both.
    ///
    /// Generations of it end as cancelled; later ones throw ``EngineError/Code/invalidArgument``. The tokenizer keeps
    /// working. Without this the memory is freed some time after the last reference. Cancelling the task that waits does
    /// not stop the unload.
    ///
    /// - Returns: By how many bytes the memory that MLX holds fell; 0 for a ``StandInModel``.
    @discardableResult
    public func unload() async throws -> Int {
        guard case .library(let handle) = backing else { return 0 }
        // A task of its own, because a cancelled one would not even start.
        let work = Task {
            try await HubObserver.result { observer, slot in
                try observer.start(slot) { mlxe_model_unload_start(handle.pointer, $0, &$1) }
            }
        }
        return try decodeJSON(Unloaded.self, try await work.value).freedBytes
    }

    /// The model's `config.json`, as read; `{}` for a ``StandInModel``.
    public func configuration() throws -> String {
        switch backing {
        case .library(let handle): try makeString { mlxe_model_config_json(handle.pointer, &$0) }
        case .standIn: "{}"
        }
    }
}

private struct Unloaded: Decodable {
    let freedBytes: Int

    enum CodingKeys: String, CodingKey {
        case freedBytes = "freed_bytes"
    }
}
