import CMLXEngine
import Foundation

/// The models on the disk, downloads from the Hugging Face Hub or a mirror, and a catalogue of well-known models.
///
/// ```swift
/// let hub = try ModelHub()
/// let model = try await hub.load("organisation/name") { phase in
///     print(phase.description)
/// }
/// print(model.info.parameters)
/// ```
///
/// Processes may share a models directory: a model that one is downloading or loading cannot be removed by another.
public final class ModelHub: Sendable {
    /// Receives the progress of work, on a thread of the library.
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
        _ = try options.directory?.checkedPath
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

    /// Searches the Hub.
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

    /// Estimates how much memory a model takes and whether it fits, without downloading its weights.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    ///   - request: The use to estimate for.
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

    /// Loads a model; missing files are downloaded first.
    ///
    /// - Parameters:
    ///   - id: The model's name, `organisation/name`.
    ///   - revision: A branch, tag or commit.
    ///   - engine: Where the model will compute; nil for ``Engine/shared()``.
    ///   - phaseHandler: Called for every phase; see ``LanguageModel/load(directory:hub:engine:phaseHandler:)``.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    public func load(
        _ id: String, revision: String = "main", engine: Engine? = nil,
        phaseHandler: @escaping PhaseHandler = { _ in }
    ) async throws -> LanguageModel {
        try await LanguageModel.load(
            id: id, revision: revision, hub: self, engine: engine, phaseHandler: phaseHandler)
    }

    /// Loads a model, as a sequence of phases and of progress within them; missing files are downloaded first.
    public func loading(_ id: String, revision: String = "main", engine: Engine? = nil) -> ModelLoading {
        LanguageModel.loading(id: id, revision: revision, hub: self, engine: engine)
    }

    /// Downloads what a model needs and the disk lacks. What has arrived is kept, so a download that was cancelled, or
    /// whose app was killed, resumes where it stopped.
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

    /// Removes a model from the disk, or one revision of it. A model that is already loaded is not affected.
    ///
    /// - Parameters:
    ///   - id: The model's name.
    ///   - revision: A branch, tag or commit; nil for all.
    /// - Returns: Bytes that were freed.
    /// - Throws: ``EngineError``, with ``EngineError/Code/busy`` while it is being downloaded or loaded.
    @discardableResult
    public func remove(id: String, revision: String? = nil) async throws -> UInt64 {
        let json = try withStr(id) { id in
            try withStr(revision) { revision in
                try makeString { mlxe_hub_remove(handle.pointer, id, revision, &$0) }
            }
        }
        return try decodeJSON(RemovedModel.self, json).bytes
    }

    /// Verifies models: missing files, sizes, checksums, and leftovers of killed processes.
    ///
    /// - Parameters:
    ///   - id: The model's name; nil for all models.
    ///   - fix: Removes damaged and useless files; the next download fetches them again.
    ///   - progressHandler: Receives its progress.
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

    /// Imports a folder with a model into the models directory. It is checked first and becomes visible once it is
    /// complete.
    ///
    /// - Parameters:
    ///   - folder: The folder, with `config.json`, weights and tokenizer.
    ///   - id: The id it will have, `organisation/name`.
    ///   - link: Hard-links the weights where the file system allows: both names are then the same file.
    ///   - progressHandler: Receives its progress.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled.
    @discardableResult
    public func importModel(
        from folder: URL, id: String, link: Bool = false, progressHandler: @escaping ProgressHandler = { _ in }
    ) async throws -> StoredModel {
        try await run(progressHandler) { observer, slot in
            try withStr(try folder.checkedPath) { folder in
                try withStr(id) { id in
                    try observer.start(slot) {
                        mlxe_hub_import_start(self.handle.pointer, folder, id, link, $0, &$1)
                    }
                }
            }
        }
    }

    /// Moves all models to another directory, one after the other. This hub keeps the old directory; create a new hub
    /// afterwards.
    ///
    /// - Parameters:
    ///   - directory: Where the models will be.
    ///   - progressHandler: Receives its progress.
    /// - Throws: ``EngineError``, or `CancellationError` if the task is cancelled; moving again continues.
    @discardableResult
    public func move(
        to directory: URL, progressHandler: @escaping ProgressHandler = { _ in }
    ) async throws -> MoveReport {
        try await run(progressHandler) { observer, slot in
            try withStr(try directory.checkedPath) { directory in
                try observer.start(slot) { mlxe_hub_move_start(self.handle.pointer, directory, $0, &$1) }
            }
        }
    }

    /// Removes models, least recently used first, until the others fit a budget.
    ///
    /// - Parameters:
    ///   - budget: Bytes that all models together may take.
    ///   - keep: Ids of models to keep.
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
        try decodeJSON(Value.self, try await HubObserver.result(progressHandler, start: start))
    }
}

/// Hubs are compared by identity: two with the same options are different.
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
