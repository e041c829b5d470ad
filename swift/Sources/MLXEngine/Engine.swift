import CMLXEngine

/// Where models live and compute: one thread that owns all of MLX's work.
///
/// Most apps need only ``shared()``. Models keep their engine alive.
public final class Engine: Sendable {
    /// The processor to compute on.
    public enum Device: Sendable {
        /// The GPU if there is one, else the CPU.
        case automatic
        /// The host's processor.
        case cpu
        /// Metal on Apple silicon; CUDA where the CUDA build of MLX is installed.
        case gpu
    }

    let handle: Handle

    /// Starts an engine.
    ///
    /// - Parameters:
    ///   - device: Where to compute.
    ///   - maxBatch: Generations of one model that are decoded together at most, one token of each a step. Each gets the
    ///     tokens that it would get alone, on a GPU but for rounding.
    /// - Throws: ``EngineError`` with ``EngineError/Code/unsupportedModel`` if there is no such device, with
    ///   ``EngineError/Code/invalidArgument`` if `maxBatch` is not positive.
    public init(device: Device = .automatic, maxBatch: Int = 8) throws {
        guard mlxe_abi_version() == MLXE_ABI_VERSION else {
            throw EngineError(
                .internal,
                "this package is made for version \(MLXE_ABI_VERSION) of the library's binary interface, "
                    + "and the library \(MLXEngineLibrary.version) has version \(mlxe_abi_version())")
        }
        guard maxBatch > 0 else {
            throw EngineError(.invalidArgument, "maxBatch is \(maxBatch)")
        }
        var options = mlxe_engine_options_t()
        mlxe_engine_options_init(&options, MemoryLayout<mlxe_engine_options_t>.size)
        options.max_batch = maxBatch
        options.device =
            switch device {
            case .automatic: Int32(MLXE_DEVICE_DEFAULT)
            case .cpu: Int32(MLXE_DEVICE_CPU)
            case .gpu: Int32(MLXE_DEVICE_GPU)
            }
        handle = try make(free: { mlxe_engine_free($0) }) { mlxe_engine_new(&options, &$0) }
    }

    private static let sharedResult = Result { try Engine() }

    /// The engine that is used where none is given. It starts with the first call and computes on the GPU if there is
    /// one.
    public static func shared() throws -> Engine {
        try sharedResult.get()
    }

    /// Where the engine computes: `cpu` or `gpu`.
    public var device: String {
        text(mlxe_engine_device(handle.pointer)) ?? ""
    }
}

/// Facts about the C library.
public enum MLXEngineLibrary {
    /// Its version, such as `0.1.0`.
    public static var version: String {
        text(mlxe_version()) ?? ""
    }

    /// The version of MLX that it was made for.
    public static var mlxVersion: String {
        text(mlxe_mlx_version()) ?? ""
    }

    /// The values of `model_type` that can be loaded.
    public static func supportedModelTypes() throws -> [String] {
        struct Row: Decodable {
            let model_type: String
        }
        return try decodeJSON([Row].self, makeString { mlxe_supported_models_json(&$0) }).map(\.model_type)
    }
}
