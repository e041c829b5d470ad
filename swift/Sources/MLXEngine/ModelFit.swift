/// The use for which a model's memory is estimated.
public struct MemoryRequest: Sendable, Hashable, Encodable {
    /// The device it is to run on.
    public enum Device: String, Sendable, Hashable, Codable {
        case cpu, gpu
    }

    /// Positions, prompt and answer together; nil for the model's context length, at most 4096.
    public var context: UInt64?
    /// Prompt positions processed per step; nil for the device's default.
    public var prefillStep: UInt64?
    /// Quantizes keys and values to this many bits.
    public var keyValueBits: Int?
    /// The group size, 32, 64 or 128; nil for 64.
    public var keyValueGroupSize: Int?
    /// Layers without a window keep only this many positions.
    public var maxKeyValueSize: UInt64?
    /// The device it is to run on; nil for the GPU if there is one.
    public var device: Device?

    public init(context: UInt64? = nil, device: Device? = nil) {
        (self.context, self.device) = (context, device)
    }

    enum CodingKeys: String, CodingKey {
        case context, device
        case prefillStep = "prefill_step"
        case keyValueBits = "kv_bits"
        case keyValueGroupSize = "kv_group_size"
        case maxKeyValueSize = "max_kv_size"
    }
}

/// The memory that a model takes, known without loading or downloading it.
public struct ModelFit: Sendable, Hashable, Decodable {
    /// An estimate, in bytes.
    public struct Memory: Sendable, Hashable, Decodable {
        /// The number of positions that it is for.
        public let context: UInt64
        /// Weights.
        public let weights: UInt64
        /// Keys and values.
        public let keyValueCache: UInt64
        /// Activations of a step.
        public let activations: UInt64
        /// The total: the peak.
        public let total: UInt64

        enum CodingKeys: String, CodingKey {
            case context, weights, activations, total
            case keyValueCache = "kv_cache"
        }
    }

    /// Its id or directory.
    public let name: String
    /// Its architecture, as `config.json` names it.
    public let modelType: String
    /// Whether this library supports it. If not, only the weights are counted.
    public let supported: Bool
    /// Why not.
    public let reason: String?
    /// Number of parameters, quantized or not.
    public let parameters: UInt64
    /// Bits of the most common quantization.
    public let bits: Int?
    /// The longest sequence it was trained for.
    public let contextLength: UInt64?
    /// Bytes that a download would fetch; 0 if it is on the disk already.
    public let downloadBytes: UInt64
    /// The estimate.
    public let memory: Memory
    /// Bytes that the machine has, or that a container or iOS allows.
    public let memoryTotal: UInt64?
    /// Bytes that are available now.
    public let memoryAvailable: UInt64?
    /// Whether it fits in seven eighths of the memory that is available now; nil if that is unknown.
    public let fits: Bool?
    /// The longest context, a multiple of 256, with which it would fit now; 0 if none does.
    public let largestContext: UInt64?

    enum CodingKeys: String, CodingKey {
        case name, supported, reason, parameters, bits, memory, fits
        case modelType = "model_type"
        case contextLength = "context_length"
        case downloadBytes = "download_bytes"
        case memoryTotal = "memory_total"
        case memoryAvailable = "memory_available"
        case largestContext = "largest_context"
    }
}
