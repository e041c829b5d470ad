// swift-tools-version: 6.0
import PackageDescription

// The C library that MLXEngine stands on, in this order:
//   MLX_ENGINE_LIB_DIR=DIR       libmlx_engine built by cargo (target/debug, target/release), on Linux and macOS; for
//                                this package and its examples: SwiftPM takes no flags from a versioned dependency
//   MLX_ENGINE_XCFRAMEWORK=PATH  an XCFramework built by `cargo xtask xcframework`
//   macOS                        the XCFramework of the release below
//   elsewhere                    an installed library (`make install`), found with pkg-config
let libraryFolder = Context.environment["MLX_ENGINE_LIB_DIR"]
let localFramework = Context.environment["MLX_ENGINE_XCFRAMEWORK"]

// Written by the release workflow. Before the first release there is nothing at this address.
let releaseURL = "https://github.com/OWNER/mlx-engine/releases/download/v0.1.0/CMLXEngine.xcframework.zip"
let releaseChecksum = "0000000000000000000000000000000000000000000000000000000000000000"

#if os(macOS)
let usesRelease = true
#else
let usesRelease = false
#endif

let library: Target
var linking: [LinkerSetting] = []
if let libraryFolder {
    library = .systemLibrary(name: "CMLXEngine", path: "include")
    linking = [
        .linkedLibrary("mlx_engine"),
        .unsafeFlags(["-L\(libraryFolder)", "-Xlinker", "-rpath", "-Xlinker", libraryFolder]),
    ]
} else if let localFramework {
    // SwiftPM wants a path inside the package.
    let root = Context.packageDirectory + "/"
    let path = localFramework.hasPrefix(root) ? String(localFramework.dropFirst(root.count)) : localFramework
    library = .binaryTarget(name: "CMLXEngine", path: path)
} else if usesRelease {
    library = .binaryTarget(name: "CMLXEngine", url: releaseURL, checksum: releaseChecksum)
} else {
    library = .systemLibrary(name: "CMLXEngine", path: "include", pkgConfig: "mlx_engine")
    linking = [.linkedLibrary("mlx_engine")]
}

let package = Package(
    name: "MLXEngine",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "MLXEngine", targets: ["MLXEngine"])
    ],
    targets: [
        library,
        // What Debian's Swift lacks, so that programs link there without flags.
        .target(name: "SwiftRuntimeSupport", path: "swift/Sources/SwiftRuntimeSupport"),
        .target(
            name: "MLXEngine", dependencies: ["CMLXEngine", "SwiftRuntimeSupport"], path: "swift/Sources/MLXEngine",
            linkerSettings: linking),
        .executableTarget(
            name: "streaming-benchmark", dependencies: ["MLXEngine", "CMLXEngine"], path: "swift/Benchmarks/Streaming"),
        .testTarget(
            name: "MLXEngineTests", dependencies: ["MLXEngine", "CMLXEngine"], path: "swift/Tests/MLXEngineTests"),
    ],
    swiftLanguageModes: [.v6]
)
