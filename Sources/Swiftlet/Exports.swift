// `import Swiftlet` is all that a program needs.
@_exported import Basics
@_exported import Compute
@_exported import Generation
@_exported import Models
@_exported import Text
@_exported import Training
