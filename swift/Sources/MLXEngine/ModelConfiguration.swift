import Foundation

/// What to load.
public struct ModelConfiguration: Sendable, Hashable {
    /// Where a model comes from.
    public enum Source: Sendable, Hashable {
        /// A model of the Hugging Face Hub, `organisation/name`, at a branch, tag or commit.
        case id(String, revision: String)
        /// A directory with `config.json`, weights and tokenizer.
        case directory(URL)
    }

    /// What floating-point weights are converted to.
    public enum WeightType: Sendable, Hashable {
        /// As stored; except that on a CPU the scales of a quantized model become 32-bit floats, for accuracy.
        case automatic
        /// As stored.
        case stored
        /// 32-bit floating point.
        case float32
        /// IEEE 16-bit floating point.
        case float16
        /// bfloat16.
        case bfloat16
    }

    /// Where the model comes from.
    public var source: Source

    /// Where a model with an id lies and comes from, and whose catalogue counts; nil for what the environment says.
    public var hub: ModelHub?

    /// A directory to take the tokenizer from; nil for the model's own.
    public var tokenizerDirectory: URL?

    /// What floating-point weights are converted to.
    public var weightType: WeightType

    /// A model of the Hugging Face Hub.
    public init(
        id: String, revision: String = "main", hub: ModelHub? = nil, tokenizerDirectory: URL? = nil,
        weightType: WeightType = .automatic
    ) {
        source = .id(id, revision: revision)
        self.hub = hub
        self.tokenizerDirectory = tokenizerDirectory
        self.weightType = weightType
    }

    /// A model in a directory. One that lies in a models directory, as ``ModelDownload/directory`` does, is treated as the
    /// model it is: nobody removes it while it is read, its use is recorded, and it ends answers at what the hub's
    /// catalogue has for it.
    public init(
        directory: URL, hub: ModelHub? = nil, tokenizerDirectory: URL? = nil, weightType: WeightType = .automatic
    ) {
        source = .directory(directory)
        self.hub = hub
        self.tokenizerDirectory = tokenizerDirectory
        self.weightType = weightType
    }

    /// The model's id, or the name of its directory.
    public var name: String {
        switch source {
        case .id(let id, _): id
        case .directory(let url): url.lastPathComponent
        }
    }
}
