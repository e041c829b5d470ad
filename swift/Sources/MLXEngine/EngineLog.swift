import CMLXEngine

#if canImport(os)
import os
#endif

/// What the library has to say beside results.
public enum EngineLog {
    /// How important a message is.
    public enum Level: Int32, Sendable, Comparable {
        /// Failures that are reported nowhere else.
        case error = 1
        /// Probable problems.
        case warning = 2
        /// Coarse progress.
        case info = 3
        /// Details.
        case debug = 4

        public static func < (lhs: Level, rhs: Level) -> Bool {
            lhs.rawValue < rhs.rawValue
        }
    }

    /// A message.
    public struct Message: Sendable, Hashable {
        /// How important it is.
        public let level: Level
        /// The part of the library it comes from.
        public let target: String
        /// What it says.
        public let text: String
    }

    /// Hears of messages on any thread, several at once.
    public typealias Handler = @Sendable (Message) -> Void

    private final class Sink: Sendable {
        let handler: Handler

        init(_ handler: @escaping Handler) {
            self.handler = handler
        }
    }

    /// Sets the callback that receives the library's log messages, replacing any earlier one.
    ///
    /// - Parameters:
    ///   - level: The least important messages that are made.
    ///   - handler: Receives them. Must not call this function.
    public static func setHandler(level: Level = .info, _ handler: @escaping Handler) throws {
        let context = CallbackContext.retained(Sink(handler))
        try check(
            mlxe_log_set_callback(
                level.rawValue,
                { context, level, target, message in
                    let sink = CallbackContext.borrowed(context, as: Sink.self)
                    // A level of a later version is a detail.
                    let level = Level(rawValue: level) ?? .debug
                    sink.handler(Message(level: level, target: text(target) ?? "", text: text(message) ?? ""))
                }, context, CallbackContext.drop))
    }

    /// Makes no more messages.
    public static func removeHandler() throws {
        try check(mlxe_log_set_callback(Int32(MLXE_LOG_OFF), nil, nil, nil))
    }

    #if canImport(os)
    /// Sends messages to the system's log.
    ///
    /// - Parameters:
    ///   - logger: Where they go.
    ///   - level: The least important messages that are made.
    public static func useSystemLog(
        _ logger: Logger = Logger(subsystem: "MLXEngine", category: "engine"), level: Level = .info
    ) throws {
        try setHandler(level: level) { message in
            let type: OSLogType =
                switch message.level {
                case .error: .error
                case .warning: .default
                case .info: .info
                case .debug: .debug
                }
            logger.log(level: type, "\(message.target, privacy: .public): \(message.text, privacy: .public)")
        }
    }
    #endif
}
