// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "Examples",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        // For the apps in Apps/project.yml.
        .library(name: "AppModels", targets: ["AppModels"])
    ],
    dependencies: [
        .package(name: "MLXEngine", path: "../..")
    ],
    targets: [
        .executableTarget(name: "chat", dependencies: ["MLXEngine"], path: "Sources/Chat"),
        .target(name: "AppModels", dependencies: ["MLXEngine"]),
        .testTarget(name: "AppModelsTests", dependencies: ["AppModels"]),
    ],
    swiftLanguageModes: [.v6]
)
