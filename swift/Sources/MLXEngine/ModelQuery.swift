/// A search of the Hub. A model must match all given criteria.
public struct ModelQuery: Sendable, Hashable, Encodable {
    /// By number of parameters.
    public enum SizeClass: String, Sendable, Hashable, Codable {
        /// Under 100 million.
        case tiny
        /// Up to 1 billion.
        case small
        /// Up to 7 billion.
        case medium
        /// Up to 13 billion.
        case large
        /// Above 13 billion.
        case xlarge
    }

    /// Its modality.
    public enum Modality: String, Sendable, Hashable, Codable {
        case text, image, audio, embedding, other
    }

    /// The order, highest or latest first.
    public enum Order: String, Sendable, Hashable, Codable {
        case downloads, likes, trending, created, modified, quality
    }

    /// Part of the id.
    public var text: String?
    /// User or organisation.
    public var author: String?
    /// `text-generation`, `image-text-to-text`, ...
    public var task: String?
    /// The library that models are made for: `mlx` if nil; an empty string for any.
    public var library: String?
    /// Tags that a model must all have.
    public var tags: [String] = []
    /// Language codes that a model must all have: `en`, `de`, ...
    public var languages: [String] = []
    /// `apache-2.0`, `mit`, ...
    public var licence: String?
    /// Whether access must be requested.
    public var gated: Bool?
    /// The architecture, as `config.json` names it.
    public var architecture: String?
    /// By number of parameters.
    public var sizeClass: SizeClass?
    /// Bits per weight: 16 or 32 for models that are not quantized.
    public var bits: Int?
    /// Its modality.
    public var modality: Modality?
    /// The fewest bytes of weights.
    public var minBytes: UInt64?
    /// The most bytes of weights.
    public var maxBytes: UInt64?
    /// The most bytes of estimated memory.
    public var fitsBytes: UInt64?
    /// The fewest downloads in the last month.
    public var minDownloads: UInt64?
    /// The fewest likes.
    public var minLikes: UInt64?
    /// Modified on this date (`2025-01-31`) or later.
    public var since: String?
    /// Only models that this library can run.
    public var supported = false
    /// The order.
    public var sort = Order.downloads
    /// Results per page, 1 to 1000.
    public var limit = 20
    /// Where an earlier page ended: ``ModelPage/next``. The rest of the query must be the same.
    public var page: String?

    /// All models made for MLX, or those with a string in their ids.
    public init(text: String? = nil) {
        self.text = text
    }

    enum CodingKeys: String, CodingKey {
        case text, author, task, library, tags, languages, licence, gated, architecture, bits, modality, since
        case supported, sort, limit, page
        case sizeClass = "size_class"
        case minBytes = "min_bytes"
        case maxBytes = "max_bytes"
        case fitsBytes = "fits_bytes"
        case minDownloads = "min_downloads"
        case minLikes = "min_likes"
    }
}

/// Models that a search found.
public struct ModelPage: Sendable, Hashable, Decodable {
    /// May be fewer than the limit, even none, while there is a next page.
    public let models: [ModelSummary]
    /// Where to continue, if there may be more.
    public let next: String?
    /// How many models the Hub has sent for this page.
    public let examined: Int
}

/// A search result.
public struct ModelSummary: Sendable, Hashable, Decodable, Identifiable {
    /// The model's name, `organisation/name`.
    public let id: String
    /// User or organisation.
    public let author: String
    /// Its task.
    public let task: String?
    /// The library it is made for.
    public let library: String?
    /// Its modality.
    public let modality: ModelQuery.Modality
    /// The architecture, as `config.json` names it.
    public let architecture: String?
    /// Whether this library supports the architecture; nil if that is unknown.
    public let supported: Bool?
    /// Number of parameters, quantized or not.
    public let parameters: UInt64?
    /// By number of parameters.
    public let sizeClass: ModelQuery.SizeClass?
    /// Bits per weight.
    public let bits: Int?
    /// Bytes of its weights.
    public let weightBytes: UInt64?
    /// Roughly what it takes in memory with a short context; ``ModelHub/estimate(id:revision:for:)`` is exact.
    public let memoryBytes: UInt64?
    /// Its licence, or the first of several.
    public let licence: String?
    /// All its licences.
    public let licences: [String]
    /// Its language codes.
    public let languages: [String]
    /// Whether access must be requested.
    public let gated: Bool
    /// Whether only its owners can read it.
    public let `private`: Bool
    /// Downloads of the last month.
    public let downloads: UInt64
    /// Likes.
    public let likes: UInt64
    /// The Hub's trending score.
    public let trending: Double
    /// When it was created, RFC 3339.
    public let created: String?
    /// When it was modified, RFC 3339.
    public let modified: String?
    /// A score of how well it is described, kept and used, 0 to 100.
    public let quality: Double
    /// All tags.
    public let tags: [String]

    enum CodingKeys: String, CodingKey {
        case id, author, task, library, modality, architecture, supported, parameters, bits, licence, licences
        case languages, gated, `private`, downloads, likes, trending, created, modified, quality, tags
        case sizeClass = "size_class"
        case weightBytes = "weight_bytes"
        case memoryBytes = "memory_bytes"
    }
}
