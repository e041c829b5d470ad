import Foundation

#if os(iOS)
import os
#endif

/// Whether a model fits into memory.
public enum MemoryFit: String, Sendable, Comparable, CaseIterable {
    /// Comfortably.
    case fits
    /// It may be slow, or the system may end the app.
    case tight
    /// It cannot work.
    case tooLarge

    public static func < (lhs: MemoryFit, rhs: MemoryFit) -> Bool {
        allCases.firstIndex(of: lhs)! < allCases.firstIndex(of: rhs)!
    }

    /// Compares what a model needs with what there is.
    ///
    /// - Parameters:
    ///   - weightBytes: Bytes of the weight files.
    ///   - cacheBytesPerToken: Bytes of keys and values of a token, in all layers.
    ///   - tokens: Length of a conversation.
    ///   - available: Bytes that the app may use.
    public init(weightBytes: Int, cacheBytesPerToken: Int, tokens: Int = 4096, available: Int) {
        // What work needs beside weights and cache is about a tenth of the weights.
        let needed = Double(weightBytes) * 1.1 + Double(cacheBytesPerToken) * Double(tokens)
        switch needed / Double(max(available, 1)) {
        case ..<0.75: self = .fits
        case ..<1: self = .tight
        default: self = .tooLarge
        }
    }

    /// Bytes that this app may use: what iOS still grants it; elsewhere three quarters of the machine's memory.
    public static var availableBytes: Int {
        #if os(iOS)
        os_proc_available_memory()
        #else
        Int(ProcessInfo.processInfo.physicalMemory / 4 * 3)
        #endif
    }
}
