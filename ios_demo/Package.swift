// swift-tools-version: 5.9
import PackageDescription

// The models are copied as they are, not processed: Xcode would compile a processed .mlpackage and `swift build` would
// not, and a compiled model has other bytes than the manifest's. The loader compiles each model at first use.
let package = Package(
    name: "SAM2LiteModels",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "SAM2LiteModels", targets: ["SAM2LiteModels"])
    ],
    targets: [
        .target(name: "SAM2LiteModels", resources: [.copy("Models")])
    ]
)
