import CMLXEngine

/// How to reach a Hub, and where its models lie.
struct HubAccess: Sendable {
    let directory: String?
    let endpoint: String?
    let token: String?
    let proxy: String?
    let offline: Bool
    let usesXet: Bool

    /// Lends directory, endpoint, token and proxy to C.
    func withStrs<Result>(
        _ body: (mlxe_str_t, mlxe_str_t, mlxe_str_t, mlxe_str_t) throws -> Result
    ) rethrows -> Result {
        try withStr(directory) { directory in
            try withStr(endpoint) { endpoint in
                try withStr(token) { token in
                    try withStr(proxy) { try body(directory, endpoint, token, $0) }
                }
            }
        }
    }

    /// Lends C the options of a load.
    func withLoadOptions<Result>(
        id: String, revision: String, _ body: (inout mlxe_load_options_t) throws -> Result
    ) rethrows -> Result {
        try withStrs { directory, endpoint, token, proxy in
            try withStr(id) { id in
                try withStr(revision) { revision in
                    var options = mlxe_load_options_t()
                    mlxe_load_options_init(&options, MemoryLayout<mlxe_load_options_t>.size)
                    (options.id, options.revision, options.cache_directory) = (id, revision, directory)
                    (options.endpoint, options.token, options.proxy) = (endpoint, token, proxy)
                    (options.offline, options.disable_xet) = (offline, !usesXet)
                    return try body(&options)
                }
            }
        }
    }
}
