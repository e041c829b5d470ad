import Foundation

/// Facts about a loaded model.
public struct ModelInfo: Sendable, Hashable, Codable {
    /// How weights are quantized.
    public struct Quantization: Sendable, Hashable, Codable {
        /// The scheme, such as `affine`.
        public let mode: String
        /// Bits per weight.
        public let bits: Int
        /// How many weights share a scale.
        public let groupSize: Int

        enum CodingKeys: String, CodingKey {
            case mode, bits
            case groupSize = "group_size"
        }
    }

    /// The model's id, or the name of its directory.
    public internal(set) var name: String
    /// Where its files are.
    public let directory: String
    /// Its architecture, as `config.json` names it.
    public let modelType: String
    /// Its number of parameters.
    public let parameters: UInt64
    /// How its weights are quantized; nil if they are not.
    public let quantization: Quantization?
    /// The longest sequence it was trained for, in tokens; nil if its configuration does not say.
    public let contextLength: Int?
    /// The size of its vocabulary.
    public let vocabularySize: Int
    /// Bytes of its weight files.
    public let weightBytes: UInt64
    /// Whether it has a chat template.
    public let hasChatTemplate: Bool
    /// Why its chat template cannot be used; nil if it can, and if there is none. The model still generates after text
    /// and tokens.
    public let chatTemplateError: String?
    /// The tokens that end an answer.
    public let eosTokens: [Token]
    /// The device it computes on: `cpu` or `gpu`.
    public let device: String
    /// How long loading took, in seconds.
    public let loadSeconds: Double

    enum CodingKeys: String, CodingKey {
        case name, directory, parameters, quantization, device
        case modelType = "model_type"
        case contextLength = "context_length"
        case vocabularySize = "vocab_size"
        case weightBytes = "weight_bytes"
        case hasChatTemplate = "has_chat_template"
        case chatTemplateError = "chat_template_error"
        case eosTokens = "eos_token_ids"
        case loadSeconds = "load_seconds"
    }
}
