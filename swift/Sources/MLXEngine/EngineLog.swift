import CMLXEngine

#if canImport(os)
import os
#endif

/// The library's log.
public enum EngineLog {
    /// The severity of a message.
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
        /// Its severity.
        public let level: Level
        /// The part of the library it comes from.
        public let target: String
        /// Its text.
        public let text: String
    }

    /// Receives messages on any thread, concurrently.
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
    ///   - level: The least severe messages to produce.
    ///   - handler: Receives them. Must not call this function.
    public static func setHandler(level: Level = .info, _ handler: @escaping Handler) throws {
        let context = CallbackContext.retained(Sink(handler))
        try check(
            mlxe_log_set_callback(
                level.rawValue,
                { context, level, target, message in
                    let sink = CallbackContext.borrowed(context, as: Sink.self)
                    // Levels of later versions count as details.
                    let level = Level(rawValue: level) ?? .debug
                    sink.handler(Message(level: level, target: text(target) ?? "", text: text(message) ?? ""))
                }, context, CallbackContext.drop))
    }

    /// Stops producing messages.
    public static func removeHandler() throws {
        try check(mlxe_log_set_callback(Int32(MLXE_LOG_OFF), nil, nil, nil))
    }

    #if canImport(os)
    /// Sends messages to the system's log.
    ///
    /// - Parameters:
    ///   - logger: Where they go.
    ///   - level: The least severe messages to produce.
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
