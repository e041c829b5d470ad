import Foundation

/// What a load is doing.
///
/// ```swift
/// let model = try await LanguageModel.load(directory: folder) { phase in
///     switch phase {
///     case .downloadingWeights(let file, let index, let total, _):
///         print("Downloading \(file) (\(index)/\(total))")
///     case .loadingWeights(let file, let index, let total):
///         print("Loading weights from \(file) (\(index)/\(total))")
///     case .ready:
///         print("Model ready!")
///     default:
///         break
///     }
/// }
/// ```
///
/// A load from the disk begins with ``readingConfig``, a download with ``downloadingConfig``. The last phase of every load
/// is ``ready``, ``failed(_:)`` or ``cancelled``.
public enum LoadingPhase: Sendable, Equatable, CustomStringConvertible {
    /// Reading the configuration of a model that is on the disk.
    case readingConfig

    /// Finding the model on its hub and downloading its configuration.
    case downloadingConfig

    /// Downloading a weight file.
    /// - Parameters:
    ///   - file: The file's name.
    ///   - fileIndex: Its number, from 1.
    ///   - totalFiles: How many files there are.
    ///   - progress: Fraction of this file that has arrived, 0 to 1.
    case downloadingWeights(file: String, fileIndex: Int, totalFiles: Int, progress: Double)

    /// Reading a weight file into memory.
    /// - Parameters:
    ///   - file: The file's name.
    ///   - fileIndex: Its number, from 1.
    ///   - totalFiles: How many files there are.
    case loadingWeights(file: String, fileIndex: Int, totalFiles: Int)

    /// Reading the tokenizer.
    case loadingTokenizer

    /// Running the model once, so that the first answer is not slower than later ones.
    case initializingModel

    /// The model is ready.
    case ready

    /// The load failed. ``EngineError/phase`` says in which phase.
    case failed(EngineError)

    /// The load was cancelled.
    case cancelled

    /// A sentence for people. ``LoadingUpdate/description`` also tells of retries and of waiting.
    public var description: String {
        switch self {
        case .readingConfig:
            "Reading configuration"
        case .downloadingConfig:
            "Downloading configuration"
        case .downloadingWeights(let file, let index, let total, let progress):
            "Downloading \(file) (\(index)/\(total)) - \(Int(min(max(progress, 0), 1) * 100))%"
        case .loadingWeights(let file, let index, let total):
            "Loading weights from \(file) (\(index)/\(total))"
        case .loadingTokenizer:
            "Loading tokenizer"
        case .initializingModel:
            "Initializing model"
        case .ready:
            "Ready"
        case .failed(let error):
            error.localizedDescription
        case .cancelled:
            "Cancelled"
        }
    }

    /// Whether this is the last phase.
    public var isTerminal: Bool {
        switch self {
        case .ready, .failed, .cancelled: true
        default: false
        }
    }

    /// Estimated progress of the whole load, 0 to 1, as far as the phase alone can tell: up to 0.50 for downloads, up
    /// to 0.85 for reading weights, and 0 when it ended without a model. ``LoadingUpdate/estimatedProgress`` is finer:
    /// it counts bytes.
    public var estimatedProgress: Double {
        switch self {
        case .readingConfig, .downloadingConfig:
            0.01
        case .downloadingWeights(_, let index, let total, let progress):
            0.01 + 0.49 * Self.share(of: Double(index - 1) + min(max(progress, 0), 1), in: total)
        case .loadingWeights(_, let index, let total):
            0.50 + 0.35 * Self.share(of: Double(index), in: total)
        case .loadingTokenizer:
            0.88
        case .initializingModel:
            0.95
        case .ready:
            1
        case .failed, .cancelled:
            0
        }
    }

    private static func share(of files: Double, in total: Int) -> Double {
        min(max(files / Double(max(total, 1)), 0), 1)
    }
}

/// Receives the phases of a load, on a thread of the library.
public typealias PhaseHandler = @Sendable (LoadingPhase) -> Void

/// A phase of a load, or progress within it.
public struct LoadingUpdate: Sendable, Equatable, CustomStringConvertible {
    /// What the load is doing.
    public var phase: LoadingPhase

    /// A sentence for people: that of the phase, and what it waits for, such as another attempt of a download.
    public var description: String

    /// Estimated progress of the whole load, 0 to 1. Moves within a file too, and never decreases, except to 0 when the
    /// load ends without a model.
    public var estimatedProgress: Double

    /// Progress of a download or of reading weights. Its bytes never decrease within a phase.
    public var progress: ModelProgress?

    /// Bytes that MLX holds in the whole process.
    public var memoryInUse: UInt64

    /// Seconds since the load began.
    public var elapsed: TimeInterval

    /// Whether this is the last update.
    public var isTerminal: Bool {
        phase.isTerminal
    }
}
