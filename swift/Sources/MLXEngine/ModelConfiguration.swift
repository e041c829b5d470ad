import CMLXEngine
import Foundation

/// What to load.
///
/// Other packages have types of this name too: <doc:Names>.
public struct ModelConfiguration: Sendable, Hashable {
    /// Where a model comes from.
    public enum Source: Sendable, Hashable {
        /// A model of the Hugging Face Hub, `organisation/name`, at a branch, tag or commit.
        case id(String, revision: String)
        /// A directory with `config.json`, weights and tokenizer.
        case directory(URL)
        /// No model, but what stands in for one in tests and previews.
        case standIn(StandInModel)
    }

    /// Where the model comes from.
    public var source: Source

    /// Where a model with an id is kept and comes from, and whose catalogue applies; nil for the hub that the
    /// environment describes.
    public var hub: ModelHub?

    /// How it is loaded.
    public var options: LoadOptions

    /// A model of the Hugging Face Hub.
    public init(id: String, revision: String = "main", hub: ModelHub? = nil, options: LoadOptions = LoadOptions()) {
        source = .id(id, revision: revision)
        self.hub = hub
        self.options = options
    }

    /// A model in a directory. A directory inside a models directory, such as ``ModelDownload/directory``, is treated
    /// as if the model were loaded by id: it is locked while it is read, its use is recorded, and the `extraEOS` of its
    /// entry in the hub's catalogue apply.
    public init(directory: URL, hub: ModelHub? = nil, options: LoadOptions = LoadOptions()) {
        source = .directory(directory)
        self.hub = hub
        self.options = options
    }

    /// What stands in for a model in tests and previews: its load reports the phases of a load.
    public init(standIn model: StandInModel) {
        source = .standIn(model)
        options = LoadOptions()
    }

    /// The model's id, or the name of its directory.
    public var name: String {
        switch source {
        case .id(let id, _): id
        case .directory(let url): url.lastPathComponent
        case .standIn(let model): model.info.name
        }
    }
}

extension ModelConfiguration {
    /// Lends C the load options for the duration of a call.
    func withCOptions<Result>(_ body: (UnsafePointer<mlxe_load_options_t>) throws -> Result) throws -> Result {
        _ = try options.tokenizerDirectory?.checkedPath
        return try options.withCOptions { options in
            let lent = Lent()
            switch source {
            case .directory(let url):
                options.pointee.directory = lent.text(try url.checkedPath)
            case .id(let id, let revision):
                options.pointee.id = lent.text(id)
                options.pointee.revision = lent.text(revision)
            case .standIn:
                throw EngineError(.invalidArgument, "a stand-in is not a model of the library")
            }
            return try withExtendedLifetime(lent) { try body(options) }
        }
    }
}
