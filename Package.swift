// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Swiftlet",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "Swiftlet", targets: ["Swiftlet"]),
    .executable(name: "swiftlet", targets: ["CLI"]),
  ],
  dependencies: [
    // Command-line flags, help and completion.
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    // Ordered dictionaries: JSON objects keep the order of their keys (chat templates print them).
    .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
    // Configuration files are YAML.
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    // `make docs`.
    .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"),
  ],
  targets: [
    .target(name: "CKernels", exclude: ["cuda"], cSettings: [.define("_GNU_SOURCE")]),
    .target(
      name: "Basics",
      dependencies: [.product(name: "OrderedCollections", package: "swift-collections")]),
    .target(name: "Compute", dependencies: ["Basics", "CKernels"]),
    // Tables of operations and of small models, checked on any backend: `make test` and `swiftlet selftest`.
    .target(name: "SelfTest", dependencies: ["Basics", "CKernels", "Compute", "Models", "Text", "Training"]),
    .target(
      name: "Models",
      dependencies: [
        "Basics", "Compute", .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .target(name: "Text", dependencies: ["Basics"]),

    .target(
      name: "Training",
      dependencies: [
        "Basics", "Compute", "Models", "Text",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .target(name: "Generation", dependencies: ["Basics", "Compute", "Models", "Text"]),
    .target(
      name: "Swiftlet", dependencies: ["Basics", "Compute", "Models", "Text", "Training", "Generation"]),
    .executableTarget(
      name: "CLI",
      dependencies: [
        "Swiftlet", "SelfTest",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Yams", package: "Yams"),
      ]),

    .testTarget(name: "BasicsTests", dependencies: ["Basics"]),
    .testTarget(name: "TextTests", dependencies: ["Text", "Basics"], exclude: ["Fixtures"]),
    .testTarget(
      name: "ComputeTests", dependencies: ["Compute", "CKernels", "Basics", "SelfTest"],
      exclude: ["Fixtures"]),
    .testTarget(
      name: "GenerationTests",
      dependencies: ["Generation", "Models", "Text", "Compute", "Basics", "TestSupport"],
      exclude: ["Fixtures"]),
    .testTarget(
      name: "TrainingTests", dependencies: ["Training", "Models", "Text", "Compute", "Basics", "TestSupport"]),
    .testTarget(name: "SwiftletTests", dependencies: ["Swiftlet", "TestSupport"]),
    .testTarget(name: "CLITests", dependencies: ["CLI", "Swiftlet", "TestSupport"], exclude: ["Fixtures"]),
    .testTarget(name: "SelfTestTests", dependencies: ["SelfTest", "Compute", "Basics"]),
    .target(
      name: "TestSupport", dependencies: ["Basics", "Compute", "Models", "Text"], path: "Tests/TestSupport"),
    .testTarget(
      name: "ModelsTests", dependencies: ["Models", "Compute", "Basics", "SelfTest"], exclude: ["Fixtures"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c2x
)
