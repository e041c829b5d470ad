import Foundation
import MLXEngine

/// What the user can choose. Saved as JSON.
public struct ChatSettings: Codable, Sendable, Equatable {
    /// The system prompt; empty for none.
    public var instructions = ""
    /// 0 always gives the same answer.
    public var temperature = 0.7
    /// Only the likeliest words of this probability together.
    public var topP = 0.95
    /// Tokens of an answer at most.
    public var maxTokens = 1024
    /// Megabytes of freed memory that MLX may keep for reuse.
    public var cacheMegabytes = 64

    public init() {}

    /// How to generate.
    public var parameters: GenerateParameters {
        GenerateParameters(maxTokens: maxTokens, temperature: Float(temperature), topP: Float(topP))
    }

    private static let key = "chatSettings"

    /// The settings as they were saved; the defaults if there are none or they cannot be read.
    public static func saved(in defaults: UserDefaults = .standard) -> ChatSettings {
        defaults.data(forKey: key).flatMap { try? JSONDecoder().decode(ChatSettings.self, from: $0) } ?? ChatSettings()
    }

    /// Saves the settings.
    public func save(in defaults: UserDefaults = .standard) {
        defaults.set(try? JSONEncoder().encode(self), forKey: Self.key)
    }
}
