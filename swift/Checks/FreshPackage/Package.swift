// swift-tools-version: 6.0
import PackageDescription

// REPOSITORY is replaced by tools/swift/check-fresh-package.sh.
let package = Package(
    name: "App",
    platforms: [.iOS(.v17), .macOS(.v14)],
    dependencies: [.package(url: "REPOSITORY", from: "1.0.0")],
    targets: [
        .executableTarget(
            name: "App", dependencies: [.product(name: "MLXEngine", package: "mlx-engine")],
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
