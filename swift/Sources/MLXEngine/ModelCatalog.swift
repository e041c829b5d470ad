import CMLXEngine

/// The well-known models of a ``ModelHub``, and those that an app adds: names and round figures, known without a network.
///
/// ```swift
/// let hub = try ModelHub()
/// for model in try hub.catalog.models() where model.isSupported {
///     print(model.entry.name, model.weightBytes)
/// }
/// ```
public struct ModelCatalog: Sendable {
    let hub: Handle

    /// A well-known model.
    public struct Entry: Sendable, Hashable, Codable, Identifiable {
        /// The model's name, `organisation/name`.
        public var id: String
        /// A name for people.
        public var name: String
        /// Unique, without spaces.
        public var shortName: String
        /// Number of parameters, quantized or not.
        public var parameters: UInt64
        /// Bits per weight.
        public var bits: Int
        /// Its architecture, as `config.json` names it.
        public var architecture: String
        /// The context length it was trained for.
        public var context: UInt64
        /// A prompt to try it with.
        public var defaultPrompt: String
        /// Tokens that end an answer, in addition to those in its files.
        public var extraEOS: [String]

        /// An entry added by an app.
        public init(
            id: String, name: String, shortName: String, parameters: UInt64, bits: Int, architecture: String,
            context: UInt64, defaultPrompt: String = "", extraEOS: [String] = []
        ) {
            (self.id, self.name, self.shortName) = (id, name, shortName)
            (self.parameters, self.bits, self.architecture) = (parameters, bits, architecture)
            (self.context, self.defaultPrompt, self.extraEOS) = (context, defaultPrompt, extraEOS)
        }

        enum CodingKeys: String, CodingKey {
            case id, name, parameters, bits, architecture, context
            case shortName = "short_name"
            case defaultPrompt = "default_prompt"
            case extraEOS = "extra_eos"
        }
    }

    /// An entry, and whether it runs on this machine.
    public struct Model: Sendable, Hashable, Identifiable {
        /// The entry.
        public let entry: Entry
        /// Whether this library can run its architecture.
        public let isSupported: Bool
        /// Roughly the bytes of its weights.
        public let weightBytes: UInt64
        /// Whether it fits in the memory that is available now; nil if that is unknown.
        public let fits: Bool?

        public var id: String { entry.id }
    }

    /// All models, the smallest first.
    ///
    /// - Throws: ``EngineError``
    public func models() throws -> [Model] {
        try decodeJSON([Model].self, try makeString { mlxe_hub_catalog(hub.pointer, &$0) })
    }

    /// Adds an entry to the hub's catalogue, or replaces the one with the same id.
    ///
    /// - Throws: ``EngineError``, with ``EngineError/Code/invalidArgument`` if it cannot be a model, or another has its
    ///   short name.
    public func add(_ entry: Entry) throws {
        try withStr(try encodeJSON(entry)) { json in try check(mlxe_hub_catalog_add(hub.pointer, json)) }
    }
}

extension ModelCatalog.Model: Decodable {
    enum CodingKeys: String, CodingKey {
        case supported, fits
        case weightBytes = "weight_bytes"
    }

    public init(from decoder: any Decoder) throws {
        entry = try ModelCatalog.Entry(from: decoder)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        isSupported = try values.decode(Bool.self, forKey: .supported)
        weightBytes = try values.decode(UInt64.self, forKey: .weightBytes)
        fits = try values.decodeIfPresent(Bool.self, forKey: .fits)
    }
}
