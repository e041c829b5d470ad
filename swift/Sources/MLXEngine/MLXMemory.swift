import CMLXEngine

/// MLX's memory, in bytes, for the whole process. Its limits are settings of the process: ``MLXProcess``.
public enum MLXMemory {
    /// What MLX holds at one moment.
    public struct Snapshot: Sendable, Hashable {
        /// Held by models, caches and work in progress.
        public let active: Int
        /// Freed, and kept for reuse.
        public let cache: Int
        /// The most that was active since the start or the last ``MLXMemory/resetPeak()``.
        public let peak: Int
        /// The limit at which MLX waits for running work before it allocates more.
        public let limit: Int
    }

    /// What MLX holds now.
    public static func snapshot() -> Snapshot {
        var memory = mlxe_memory_t()
        memory.struct_size = MemoryLayout<mlxe_memory_t>.size
        // Fails for a wrong struct_size only.
        try? check(mlxe_memory_get(&memory))
        return Snapshot(active: memory.active, cache: memory.cache, peak: memory.peak, limit: memory.limit)
    }

    /// Bytes held by models, caches and work.
    public static var active: Int {
        snapshot().active
    }

    /// Returns memory that MLX keeps for reuse to the system.
    public static func clearCache() {
        mlxe_memory_clear_cache()
    }

    /// Restarts the peak from now.
    public static func resetPeak() {
        mlxe_memory_reset_peak()
    }
}
