// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "CustomLoss",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "Swiftlet", path: "../..")],
  targets: [
    .executableTarget(name: "CustomLoss", dependencies: [.product(name: "Swiftlet", package: "Swiftlet")])
  ],
  swiftLanguageModes: [.v6]
)
