import CMLXEngine
import Foundation

/// Progress of a download, of other work on models, or of reading weights.
public struct ModelProgress: Sendable, Hashable {
    /// What the work is doing. Later versions of the library may have more.
    public struct Stage: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
        /// The number that the C library uses, one of `MLXE_STAGE_*`.
        public let rawValue: Int32

        /// The stage with a number of the C library.
        public init(rawValue: Int32) {
            self.rawValue = rawValue
        }

        /// Listing the files.
        public static let listing = Stage(rawValue: MLXE_STAGE_LISTING)
        /// Downloading configuration, tokenizer and templates.
        public static let config = Stage(rawValue: MLXE_STAGE_CONFIG)
        /// Downloading weights.
        public static let weights = Stage(rawValue: MLXE_STAGE_WEIGHTS)
        /// Reading weights into memory.
        public static let reading = Stage(rawValue: MLXE_STAGE_READING)
        /// Comparing files with their checksums.
        public static let verifying = Stage(rawValue: MLXE_STAGE_VERIFYING)
        /// Copying or moving models.
        public static let copying = Stage(rawValue: MLXE_STAGE_COPYING)
        /// Removing models.
        public static let removing = Stage(rawValue: MLXE_STAGE_REMOVING)

        static let names: [Stage: String] = [
            .listing: "listing", .config: "config", .weights: "weights", .reading: "reading",
            .verifying: "verifying", .copying: "copying", .removing: "removing",
        ]

        /// The stage's name, or its number if it has none.
        public var description: String {
            Self.names[self] ?? "stage \(rawValue)"
        }
    }

    /// A failure that is about to be retried.
    public struct Retry: Sendable, Hashable {
        /// How many attempts have failed in a row.
        public var attempt: Int
        /// How many attempts may fail before the work does.
        public var limit: Int
        /// Seconds until the next attempt.
        public var wait: TimeInterval
        /// What went wrong.
        public var reason: String
    }

    /// What the work is doing.
    public var stage: Stage
    /// The current file, or the model when whole models are moved or removed. Empty if there is none.
    public var file: String
    /// Its number within the stage, from 1; 0 if there is none.
    public var fileIndex: Int
    /// How many files the stage has, as far as is known.
    public var totalFiles: Int
    /// Bytes of the file that are done.
    public var fileBytesDone: UInt64
    /// Bytes of the file; 0 where files are not counted individually, as while weights are read.
    public var fileBytesTotal: UInt64
    /// Bytes that are done, over all files and stages.
    public var bytesDone: UInt64
    /// Bytes of all files known so far.
    public var bytesTotal: UInt64
    /// Recent speed in bytes per second; 0 where it is not measured.
    public var bytesPerSecond: Double
    /// Seconds remaining at that speed; nil if unknown.
    public var remaining: TimeInterval?
    /// The failure that is about to be retried, while waiting.
    public var retry: Retry?
    /// Whether the work is paused.
    public var isPaused: Bool
    /// What the work waits for another process to finish; nil if it waits for none.
    public var waitingFor: String?

    /// Fraction that is done, 0 to 1.
    public var fractionCompleted: Double {
        bytesTotal == 0 ? 0 : Double(bytesDone) / Double(bytesTotal)
    }

    /// Fraction of the file that is done, 0 to 1.
    var fileFraction: Double {
        fileBytesTotal == 0 ? 0 : Double(fileBytesDone) / Double(fileBytesTotal)
    }
}

extension ModelProgress {
    init(_ progress: mlxe_progress_t) {
        stage = Stage(rawValue: progress.stage)
        file = text(progress.file) ?? ""
        (fileIndex, totalFiles) = (Int(progress.file_index), Int(progress.total_files))
        (fileBytesDone, fileBytesTotal) = (progress.file_bytes_done, progress.file_bytes_total)
        (bytesDone, bytesTotal) = (progress.bytes_done, progress.bytes_total)
        bytesPerSecond = progress.bytes_per_second
        remaining = progress.remaining_seconds < 0 ? nil : progress.remaining_seconds
        retry = text(progress.retry_reason).map { reason in
            Retry(
                attempt: Int(progress.retry_attempt), limit: Int(progress.retry_limit), wait: progress.retry_seconds,
                reason: reason)
        }
        isPaused = progress.is_paused
        waitingFor = text(progress.waiting_for)
    }
}
