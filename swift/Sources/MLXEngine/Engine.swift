import CMLXEngine

/// Where models live and compute: one thread that owns all of MLX's work.
///
/// Most apps need only ``shared()``. Models keep their engine alive.
public final class Engine: Sendable {
    let handle: Handle

    /// Starts an engine.
    ///
    /// - Throws: ``EngineError`` with ``EngineError/Code/unsupportedModel`` if there is no such device, with
    ///   ``EngineError/Code/invalidArgument`` if an option is out of range.
    public init(_ options: EngineOptions = EngineOptions()) throws {
        guard mlxe_abi_version() == MLXE_ABI_VERSION else {
            throw EngineError(
                .internal,
                "this package is made for version \(MLXE_ABI_VERSION) of the library's binary interface, "
                    + "and the library \(MLXEngineLibrary.version) has version \(mlxe_abi_version())")
        }
        handle = try options.withCOptions { options in
            try make(free: { mlxe_engine_free($0) }) { mlxe_engine_new(options, &$0) }
        }
    }

    /// Starts an engine on a device.
    public convenience init(device: EngineOptions.Device) throws {
        try self.init(EngineOptions(device: device))
    }

    private static let sharedResult = Result { try Engine() }

    /// The default engine. It starts with the first call and computes on the GPU if there is one.
    public static func shared() throws -> Engine {
        try sharedResult.get()
    }

    /// The device that the engine computes on: `cpu` or `gpu`.
    public var device: String {
        text(mlxe_engine_device(handle.pointer)) ?? ""
    }

    /// Bytes of state from generations that are kept for later prompts.
    public var prefixBytes: Int {
        mlxe_engine_prefix_bytes(handle.pointer)
    }

    /// Frees the state kept from generations, before any work that is started after this call.
    public func clearPrefixes() {
        mlxe_engine_clear_prefixes(handle.pointer)
    }
}

/// Facts about the C library.
public enum MLXEngineLibrary {
    /// Its version, such as `0.1.0`.
    public static var version: String {
        text(mlxe_version()) ?? ""
    }

    /// The version of MLX that it was built for.
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
