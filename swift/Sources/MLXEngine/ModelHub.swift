import CMLXEngine
import Foundation

/// The models on the disk, downloads from the Hugging Face Hub or a mirror of it, and a catalogue of well-known models.
///
/// ```swift
/// let hub = try ModelHub()
/// let model = try await hub.load("organisation/name") { phase in
///     print(phase.description)
/// }
/// print(model.info.parameters)
/// ```
///
/// Processes may share a models directory: what one downloads or loads, another does not remove.
public final class ModelHub: Sendable {
    /// Hears how far work is, on a thread of the library.
    public typealias ProgressHandler = @Sendable (ModelProgress) -> Void

    /// The models directory.
    public let directory: URL

    let handle: Handle

    /// Well-known models, and those that the app adds.
    public var catalog: ModelCatalog {
        ModelCatalog(hub: handle)
    }

    /// A models directory, which need not exist.
    ///
    /// - Throws: ``EngineError``
    public init(_ options: HubOptions = HubOptions()) throws {
        handle = try options.withCOptions { options in
            try make(free: { mlxe_hub_free($0) }) { mlxe_hub_new(options, &$0) }
        }
        directory = URL(filePath: text(mlxe_hub_directory(handle.pointer)) ?? "", directoryHint: .isDirectory)
    }

    /// A models directory, which need not exist, for the hub that the environment describes.
    ///
    /// - Throws: ``EngineError``
    public convenience init(directory: URL) throws {
        try self.init(HubOptions(directory: directory))
    }

    /// Looks for models of the Hub.
    ///
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public func search(_ query: ModelQuery = ModelQuery()) async throws -> ModelPage {
        let json = try encodeJSON(query)
        return try await run { observer, slot in
            try withStr(json) { json in
                try observer.start(slot) { mlxe_hub_search_start(self.handle.pointer, json, $0, &$1) }
            }
        }
    }

    /// What a model takes in memory and whether it fits, without downloading its weights.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    ///   - request: For what use.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public func estimate(
        id: String, revision: String = "main", for request: MemoryRequest = MemoryRequest()
    ) async throws -> ModelFit {
        let json = try encodeJSON(request)
        return try await run { observer, slot in
            try ModelConfiguration(id: id, revision: revision).withCOptions { options in
                try withStr(json) { json in
                    try observer.start(slot) { mlxe_estimate_start(self.handle.pointer, options, json, $0, &$1) }
                }
            }
        }
    }

    /// Loads a model; what the disk lacks of it is downloaded first.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    ///   - engine: Where the model will compute; nil for ``Engine/shared()``.
    ///   - phaseHandler: Hears of every phase; see ``LanguageModel/load(directory:hub:engine:phaseHandler:)``.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public func load(
        _ id: String, revision: String = "main", engine: Engine? = nil,
        phaseHandler: @escaping PhaseHandler = { _ in }
    ) async throws -> LanguageModel {
        try await LanguageModel.load(
            id: id, revision: revision, hub: self, engine: engine, phaseHandler: phaseHandler)
    }

    /// Loads a model, as a sequence of phases; what the disk lacks of it is downloaded first.
    public func loading(_ id: String, revision: String = "main", engine: Engine? = nil) -> ModelLoading {
        LanguageModel.loading(id: id, revision: revision, hub: self, engine: engine)
    }

    /// Downloads what a model needs and the disk lacks. What has arrived stays, so a download that was cancelled, or
    /// whose app was killed, goes on where it was.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    public func download(id: String, revision: String = "main") -> ModelDownload {
        ModelDownload { observer, slot in
            try withStr(id) { id in
                try withStr(revision) { revision in
                    try observer.start(slot) { mlxe_hub_pull_start(self.handle.pointer, id, revision, $0, &$1) }
                }
            }
        }
    }

    /// The models on the disk, in the order of their ids.
    ///
    /// - Throws: ``EngineError``
    public func models() async throws -> [StoredModel] {
        try decodeJSON([StoredModel].self, try makeString { mlxe_hub_list(handle.pointer, &$0) })
    }

    /// One model on the disk.
    ///
    /// - Throws: ``EngineError``, with ``EngineError/Code/notFound`` if it is not there.
    public func model(id: String) async throws -> StoredModel {
        try decodeJSON(
            StoredModel.self, try withStr(id) { id in try makeString { mlxe_hub_info(handle.pointer, id, &$0) } })
    }

    /// Removes a model from the disk, or one revision of it. A model that is loaded already is not disturbed.
    ///
    /// - Parameters:
    ///   - id: The model's name.
    ///   - revision: A branch, tag or commit; nil for all.
    /// - Returns: Bytes that were freed.
    /// - Throws: ``EngineError``, with ``EngineError/Code/busy`` while it is downloaded or being loaded.
    @discardableResult
    public func remove(id: String, revision: String? = nil) async throws -> UInt64 {
        let json = try withStr(id) { id in
            try withStr(revision) { revision in
                try makeString { mlxe_hub_remove(handle.pointer, id, revision, &$0) }
            }
        }
        return try decodeJSON(RemovedModel.self, json).bytes
    }

    /// Checks that files are there, their sizes and checksums, and what killed processes have left.
    ///
    /// - Parameters:
    ///   - id: The model's name; nil for all models.
    ///   - fix: Removes what is damaged or of no use; the next download brings it again.
    ///   - progressHandler: Hears how far it is.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public func verify(
        id: String? = nil, fix: Bool = false, progressHandler: @escaping ProgressHandler = { _ in }
    ) async throws -> VerificationReport {
        try await run(progressHandler) { observer, slot in
            try withStr(id) { id in
                try observer.start(slot) { mlxe_hub_verify_start(self.handle.pointer, id, fix, $0, &$1) }
            }
        }
    }

    /// Takes a folder with a model into the models directory. It is checked first and appears when it is whole.
    ///
    /// - Parameters:
    ///   - folder: The folder, with `config.json`, weights and tokenizer.
    ///   - id: The name it will have, `organisation/name`.
    ///   - link: Hard-links the weights where the file system can: both are then one file.
    ///   - progressHandler: Hears how far it is.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func importModel(
        from folder: URL, id: String, link: Bool = false, progressHandler: @escaping ProgressHandler = { _ in }
    ) async throws -> StoredModel {
        try await run(progressHandler) { observer, slot in
            try withStr(folder.path) { folder in
                try withStr(id) { id in
                    try observer.start(slot) {
                        mlxe_hub_import_start(self.handle.pointer, folder, id, link, $0, &$1)
                    }
                }
            }
        }
    }

    /// Moves all models to another directory, one after the other. This hub still names the old one; make a new hub.
    ///
    /// - Parameters:
    ///   - directory: Where the models will be.
    ///   - progressHandler: Hears how far it is.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled; moving again goes on.
    @discardableResult
    public func move(
        to directory: URL, progressHandler: @escaping ProgressHandler = { _ in }
    ) async throws -> MoveReport {
        try await run(progressHandler) { observer, slot in
            try withStr(directory.path) { directory in
                try observer.start(slot) { mlxe_hub_move_start(self.handle.pointer, directory, $0, &$1) }
            }
        }
    }

    /// Removes the models that were not used for the longest time until the others fit a budget.
    ///
    /// - Parameters:
    ///   - budget: Bytes that all models together may take.
    ///   - keep: Ids of models that stay.
    ///   - dryRun: Only reports what would be removed.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func prune(
        toFit budget: UInt64, keeping keep: [String] = [], dryRun: Bool = false
    ) async throws -> PruneReport {
        try await run { observer, slot in
            try withStrs(keep) { keep in
                try observer.start(slot) {
                    mlxe_hub_prune_start(
                        self.handle.pointer, budget, keep.baseAddress, keep.count, dryRun, $0, &$1)
                }
            }
        }
    }

    private func run<Value: Decodable & Sendable>(
        _ progressHandler: @escaping ProgressHandler = { _ in }, start: (HubObserver, TaskSlot) throws -> Void
    ) async throws -> Value {
        let slot = TaskSlot()
        let json: String = try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await withCheckedThrowingContinuation { continuation in
                HubObserver.run(
                    slot: slot, onProgress: progressHandler, onDone: { continuation.resume(with: $0) }, start: start)
            }
        } onCancel: {
            slot.cancel()
        }
        return try decodeJSON(Value.self, json)
    }
}

/// A hub is itself only: another one with the same options is another one.
extension ModelHub: Hashable {
    public static func == (one: ModelHub, other: ModelHub) -> Bool {
        one === other
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(ObjectIdentifier(self))
    }
}

private struct RemovedModel: Decodable {
    let bytes: UInt64
}
