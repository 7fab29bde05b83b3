// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Swiftlet",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "Swiftlet", targets: ["Swiftlet"]),
    .executable(name: "swiftlet", targets: ["CLI"]),
  ],
  traits: [
    .trait(name: "Server", description: "`swiftlet serve`, which builds Hummingbird and SwiftNIO."),
    .default(enabledTraits: ["Server"]),
  ],
  dependencies: [
    // Command-line flags, help and completion.
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    // Ordered dictionaries: JSON objects keep the order of their keys (chat templates print them).
    .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
    // Configuration files are YAML.
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    // `swiftlet serve`. Its own traits add configuration files and Foundation's formats, which nothing here needs.
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    // What Hummingbird's interface is made of.
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
    .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.0.0"),
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
    // The OpenAI interface; without the trait only what needs no network.
    .target(name: "CChatPage", exclude: ["chat.html"]),
    .target(
      name: "Server",
      dependencies: [
        "CChatPage", "Swiftlet",
        .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Server"])),
        .product(name: "HummingbirdCore", package: "hummingbird", condition: .when(traits: ["Server"])),
        .product(name: "HTTPTypes", package: "swift-http-types", condition: .when(traits: ["Server"])),
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(
          name: "ServiceLifecycle", package: "swift-service-lifecycle", condition: .when(traits: ["Server"])),
      ]),
    .executableTarget(
      name: "CLI",
      dependencies: [
        "Swiftlet", "SelfTest", .target(name: "Server", condition: .when(traits: ["Server"])),
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
    .testTarget(
      name: "ServerTests",
      dependencies: [
        "Server", "CLI", "Generation", "Swiftlet", "TestSupport",
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["Server"])),
      ]),
    .target(
      name: "TestSupport", dependencies: ["Basics", "Compute", "Models", "Text"], path: "Tests/TestSupport"),
    .testTarget(
      name: "ModelsTests", dependencies: ["Models", "Compute", "Basics", "SelfTest", "TestSupport"],
      exclude: ["Fixtures"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c2x
)
