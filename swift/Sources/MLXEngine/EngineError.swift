import CMLXEngine
import Foundation

/// An error from the library: a code and a message. All functions of this package throw this type, or
/// `CancellationError`.
///
/// ```swift
/// do {
///     let model = try await LanguageModel.load(directory: folder)
/// } catch let error as EngineError where error.code == .unsupportedModel {
///     print(error.message)
/// }
/// ```
public struct EngineError: Error, Sendable, Hashable {
    /// The kind of an error. Later versions of the library may report codes that have no name here; they keep their
    /// ``rawValue``.
    public struct Code: RawRepresentable, Sendable, Hashable {
        /// The number that the C library uses, one of `MLXE_ERROR_*`.
        public let rawValue: Int32

        /// The code with a number of the C library.
        public init(rawValue: Int32) {
            self.rawValue = rawValue
        }

        init(_ value: some BinaryInteger) {
            rawValue = Int32(value)
        }
    }

    /// The kind of error.
    public let code: Code

    /// A message for people, in full. Names the file, key or value at fault.
    public let message: String

    /// The message in brief, for a screen with little room: of several problems the first one.
    public let summary: String

    /// For a load: the name of the phase that failed, as in the events of the library, such as `loadingWeights`.
    public let phase: String?

    /// What failed, and the summary, as a sentence.
    private let sentence: String?

    /// An error with a code and a message.
    public init(_ code: Code, _ message: String) {
        self.init(code, message, summary: nil)
    }

    init(_ code: Code, _ message: String, summary: String?, phase: String? = nil, sentence: String? = nil) {
        self.code = code
        self.message = message
        self.summary = summary ?? message
        self.phase = phase
        self.sentence = sentence
    }
}

extension EngineError.Code {
    /// An argument is missing, malformed or out of range.
    public static let invalidArgument = Self(MLXE_ERROR_INVALID_ARGUMENT)
    /// A file, directory, model or other named object does not exist.
    public static let notFound = Self(MLXE_ERROR_NOT_FOUND)
    /// The operating system refused to read, write or create something.
    public static let io = Self(MLXE_ERROR_IO)
    /// `config.json` or another JSON file of a model is malformed or contradicts itself.
    public static let invalidConfig = Self(MLXE_ERROR_INVALID_CONFIG)
    /// The model's type, or a feature that it needs, is not supported.
    public static let unsupportedModel = Self(MLXE_ERROR_UNSUPPORTED_MODEL)
    /// Weight files are missing, truncated, overlapping, or do not fit the model.
    public static let invalidWeights = Self(MLXE_ERROR_INVALID_WEIGHTS)
    /// A tokenizer cannot be read, or text cannot be encoded or decoded.
    public static let tokenizer = Self(MLXE_ERROR_TOKENIZER)
    /// A chat template is missing, malformed, or refused the messages it was given.
    public static let template = Self(MLXE_ERROR_TEMPLATE)
    /// MLX reported an error.
    public static let mlx = Self(MLXE_ERROR_MLX)
    /// Memory ran out.
    public static let outOfMemory = Self(MLXE_ERROR_OUT_OF_MEMORY)
    /// The work was cancelled. Asynchronous functions throw `CancellationError` instead.
    public static let cancelled = Self(MLXE_ERROR_CANCELLED)
    /// A blocking call was made inside a callback.
    public static let reentrant = Self(MLXE_ERROR_REENTRANT)
    /// A panic was caught at the library's boundary. This is a bug in the library.
    public static let panic = Self(MLXE_ERROR_PANIC)
    /// The handle was in use when a panic was caught and can no longer be trusted.
    public static let poisoned = Self(MLXE_ERROR_POISONED)
    /// The network or a server failed.
    public static let network = Self(MLXE_ERROR_NETWORK)
    /// The prompt does not fit the model's context.
    public static let contextFull = Self(MLXE_ERROR_CONTEXT_FULL)
    /// An invariant of the library did not hold. This is a bug in the library.
    public static let `internal` = Self(MLXE_ERROR_INTERNAL)
    /// A server requires a token, or the token's account has no access.
    public static let accessDenied = Self(MLXE_ERROR_ACCESS_DENIED)
    /// The disk is full.
    public static let diskFull = Self(MLXE_ERROR_DISK_FULL)
    /// The same model is in use by other work, in this process or another.
    public static let busy = Self(MLXE_ERROR_BUSY)
    /// The process was forked from one that had made this object, or an engine; neither can be used here.
    public static let forked = Self(MLXE_ERROR_FORKED)

    /// The codes that have names, which are printed instead of their numbers.
    static let names: [Self: String] = [
        .invalidArgument: "invalidArgument", .notFound: "notFound", .io: "io", .invalidConfig: "invalidConfig",
        .unsupportedModel: "unsupportedModel", .invalidWeights: "invalidWeights", .tokenizer: "tokenizer",
        .template: "template", .mlx: "mlx", .outOfMemory: "outOfMemory", .cancelled: "cancelled",
        .reentrant: "reentrant", .panic: "panic", .poisoned: "poisoned", .network: "network",
        .contextFull: "contextFull", .internal: "internal",
        .accessDenied: "accessDenied", .diskFull: "diskFull", .busy: "busy",
        .forked: "forked",
    ]
}

extension EngineError.Code: CustomStringConvertible {
    /// The code's name, or its number if it has none.
    public var description: String {
        Self.names[self] ?? "code \(rawValue)"
    }
}

extension EngineError: LocalizedError, CustomNSError, CustomStringConvertible {
    /// A sentence for people, in brief: ``summary``, and for a load what it was doing.
    public var errorDescription: String? {
        sentence ?? summary
    }

    /// The whole ``message``.
    public var failureReason: String? {
        message
    }

    /// The domain of `NSError`.
    public static var errorDomain: String {
        "MLXEngine.EngineError"
    }

    /// The number of ``code``, so that crash reporters and `NSError` tell failures apart.
    public var errorCode: Int {
        Int(code.rawValue)
    }

    /// What `NSError` has beside the code.
    public var errorUserInfo: [String: Any] {
        var info: [String: Any] = [
            NSLocalizedDescriptionKey: sentence ?? summary, NSLocalizedFailureReasonErrorKey: message,
        ]
        info["MLXEnginePhase"] = phase
        return info
    }

    /// The code and the message.
    public var description: String {
        "\(code): \(message)"
    }
}
