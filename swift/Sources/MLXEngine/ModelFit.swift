/// For what use the memory of a model is estimated.
public struct MemoryRequest: Sendable, Hashable, Encodable {
    /// Where it is to run.
    public enum Device: String, Sendable, Hashable, Codable {
        case cpu, gpu
    }

    /// Positions, prompt and answer together; the model's if nil, but 4096 at most.
    public var context: UInt64?
    /// Positions of the prompt that are processed at once; the device's usual step if nil.
    public var prefillStep: UInt64?
    /// Keys and values are quantized to this many bits.
    public var keyValueBits: Int?
    /// In groups of 32, 64 or 128; 64 if nil.
    public var keyValueGroupSize: Int?
    /// Layers without a window keep this many positions only.
    public var maxKeyValueSize: UInt64?
    /// Where it is to run; the GPU, if there is one, if nil.
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

/// What a model takes, known without loading or downloading it.
public struct ModelFit: Sendable, Hashable, Decodable {
    /// An estimate, in bytes.
    public struct Memory: Sendable, Hashable, Decodable {
        /// For this many positions.
        public let context: UInt64
        /// Weights.
        public let weights: UInt64
        /// Keys and values.
        public let keyValueCache: UInt64
        /// What comes and goes with each step.
        public let activations: UInt64
        /// All together: the peak.
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
    /// Whether this library can run it. Where it cannot, only the weights are counted.
    public let supported: Bool
    /// Why it cannot.
    public let reason: String?
    /// Number of parameters, quantized or not.
    public let parameters: UInt64
    /// Bits of the most common quantization.
    public let bits: Int?
    /// The longest sequence it was made for.
    public let contextLength: UInt64?
    /// Bytes that a download would bring; 0 where it is here already.
    public let downloadBytes: UInt64
    /// The estimate.
    public let memory: Memory
    /// Bytes that the machine has, or that a container or iOS allows.
    public let memoryTotal: UInt64?
    /// Bytes that can be taken now.
    public let memoryAvailable: UInt64?
    /// Whether it fits into seven eighths of the memory that is available now; nil where the system does not say.
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
