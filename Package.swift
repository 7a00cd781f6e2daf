// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "Apus",
    products: [
        .library(name: "Apus", targets: ["Apus"]),
        .library(name: "apus", type: .dynamic, targets: ["Apus"]),
        .executable(name: "apus-cli", targets: ["ApusCLI"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        // The public C header, importable from Swift.
        .systemLibrary(name: "CApus", path: "include"),

        // Leaf SIMD kernels, the thin importer, and a closure's call from another thread: the parts that are not Swift.
        .target(name: "CApusKernels"),
        .target(name: "CApusClosure"),
        .target(
            name: "CApusONNX",
            cxxSettings: [.define("ONNX_ML", to: "1"), .define("ONNX_NAMESPACE", to: "onnx")],
            linkerSettings: [.linkedLibrary("onnx_proto"), .linkedLibrary("protobuf")]),

        .target(name: "ApusCore", dependencies: ["CApusClosure", "CApusKernels"]),
        .target(name: "ApusGraph", dependencies: ["ApusCore"]),
        .target(name: "ApusONNX", dependencies: ["ApusGraph", "CApusONNX"]),
        .target(name: "ApusOperators", dependencies: ["ApusGraph", "CApusKernels"]),
        .target(name: "ApusOptimizer", dependencies: ["ApusOperators"]),
        .target(name: "ApusRuntime", dependencies: ["ApusOperators"]),
        .target(name: "ApusQuantizer", dependencies: ["ApusOptimizer", "ApusRuntime"]),
        .target(name: "Apus", dependencies: ["CApus", "ApusONNX", "ApusOptimizer", "ApusQuantizer", "ApusRuntime"]),
        // libpng, TurboJPEG and zlib behind plain functions; for the command line only.
        .target(
            name: "CImageCodecs",
            linkerSettings: [.linkedLibrary("png"), .linkedLibrary("turbojpeg"), .linkedLibrary("z")]),
        .executableTarget(
            name: "ApusCLI",
            dependencies: ["Apus", "CApus", "CImageCodecs", .product(name: "ArgumentParser", package: "swift-argument-parser")]),

        .executableTarget(name: "ClassifyDigit", dependencies: ["Apus"], path: "Examples/swift"),

        .target(name: "TestSupport", dependencies: ["ApusCore", "ApusGraph"], path: "Tests/TestSupport"),
        .target(name: "CKernelTwins", dependencies: ["CApusKernels"], path: "Tests/KernelTwins"),
        .testTarget(name: "CApusKernelsTests", dependencies: ["CApusKernels", "CKernelTwins", "TestSupport"]),
        .testTarget(name: "ApusCoreTests", dependencies: ["ApusCore", "TestSupport"]),
        .testTarget(name: "ApusGraphTests", dependencies: ["ApusGraph", "TestSupport"]),
        .testTarget(name: "ApusONNXTests", dependencies: ["ApusONNX", "TestSupport"]),
        .testTarget(name: "ApusOperatorsTests", dependencies: ["ApusOperators", "ApusRuntime", "TestSupport"]),
        .testTarget(name: "ApusOptimizerTests", dependencies: ["ApusOptimizer", "ApusRuntime", "TestSupport"]),
        .testTarget(name: "ApusRuntimeTests", dependencies: ["ApusRuntime", "ApusOptimizer", "TestSupport"]),
        .testTarget(name: "ApusQuantizerTests", dependencies: ["ApusQuantizer", "TestSupport"]),
        .testTarget(name: "ApusTests", dependencies: ["Apus", "TestSupport"]),
        .testTarget(name: "ApusCLITests", dependencies: ["ApusCLI", "TestSupport"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c11,
    cxxLanguageStandard: .cxx17
)
