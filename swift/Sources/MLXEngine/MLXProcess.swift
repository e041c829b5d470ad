import CMLXEngine

/// Process-wide settings, which apply to all engines.
///
/// ```swift
/// // For an app in the background: slower, but no memory is kept for reuse.
/// try MLXProcess.set(ProcessOptions(cacheLimit: 0))
/// ```
public enum MLXProcess {
    /// The current settings. All are set, except the cache limit while MLX's own applies. Reading them fixes the number
    /// of threads.
    public static var options: ProcessOptions {
        var options = mlxe_process_options_t()
        mlxe_process_options_init(&options, MemoryLayout<mlxe_process_options_t>.size)
        // Fails for a wrong struct_size only.
        try? check(mlxe_process_get(&options))
        return ProcessOptions(options)
    }

    /// Sets the given options; the others stay as they are.
    ///
    /// - Throws: ``EngineError`` if a value is out of range, or CPU kernels already run on a different number of
    ///   threads.
    public static func set(_ options: ProcessOptions) throws {
        try options.withCOptions { try check(mlxe_process_set($0)) }
    }
}
