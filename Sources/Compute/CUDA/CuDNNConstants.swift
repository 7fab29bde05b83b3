// Numbers of cuDNN 9's backend API (cudnn_graph.h), as far as Swiftlet uses them. A case's name is cuDNN's, less the
// prefix that stands at its enum.

/// cudnnBackendAttributeName_t: CUDNN_ATTR_…
enum CuDNNAttribute: Int32 {
  case pointwiseMode = 0
  case pointwiseMathPrecision = 1
  case pointwiseAxis = 9

  case engineHeuristicsMode = 200
  case engineHeuristicsOperationGraph = 201
  case engineHeuristicsResults = 202
  case engineHeuristicsDeviceProperties = 204

  case executionPlanHandle = 400
  case executionPlanEngineConfiguration = 401
  case executionPlanWorkspaceSize = 402
  case executionPlanDeviceProperties = 407

  case operationPointwiseDescriptor = 750
  case operationPointwiseX = 751
  case operationPointwiseB = 752
  case operationPointwiseY = 753
  case operationPointwiseAlpha1 = 754
  case operationPointwiseAlpha2 = 755
  case operationPointwiseT = 758

  case operationGraphHandle = 800
  case operationGraphOperations = 801

  case tensorByteAlignment = 900
  case tensorDataType = 901
  case tensorDimensions = 902
  case tensorStrides = 903
  case tensorUniqueID = 906
  case tensorIsVirtual = 907
  case tensorIsByValue = 908
  case tensorRaggedOffset = 913

  case variantPackUniqueIDs = 1000
  case variantPackDataPointers = 1001
  case variantPackWorkspace = 1003

  case matmulComputeType = 1500
  case operationMatmulA = 1520
  case operationMatmulB = 1521
  case operationMatmulC = 1522
  case operationMatmulDescriptor = 1523
  case operationMatmulMOverride = 1525
  case operationMatmulNOverride = 1526
  case operationMatmulKOverride = 1527

  case reductionOperator = 1600
  case reductionComputeType = 1601
  case reductionIsDeterministic = 1602
  case operationReductionX = 1610
  case operationReductionY = 1611
  case operationReductionDescriptor = 1612

  case operationReshapeX = 2200
  case operationReshapeY = 2201

  case devicePropertiesJSON = 2702
}

/// cudnnBackendAttributeType_t: CUDNN_TYPE_…
enum CuDNNAttributeType: Int32 {
  case handle = 0
  case dataType = 1
  case boolean = 2
  case int64 = 3
  case float = 4
  case voidPointer = 6
  case heuristicMode = 8
  case pointwiseMode = 14
  case descriptor = 15
  case reductionOperator = 18
  case char = 24
}

/// cudnnDataType_t: CUDNN_DATA_…
enum CuDNNDataType: Int32 {
  case float = 0
  case int32 = 4
  case bfloat16 = 9
  case boolean = 11
}

/// cudnnPointwiseMode_t: CUDNN_POINTWISE_…
enum CuDNNPointwise: Int32 {
  case add = 0
  case multiply = 1
  case divide = 6
  case subtract = 9
  case exponential = 13
  case logarithm = 15
  case identity = 21
  case isGreater = 302
  case isGreaterOrEqual = 303
  case isLess = 304
  case and = 400
  /// The index along an axis.
  case index = 501
  /// x where the third operand is true, else b.
  case select = 601
}

/// cudnnReduceTensorOp_t: CUDNN_REDUCE_TENSOR_…
enum CuDNNReduction: Int32 {
  case add = 0
  case max = 3
}

/// cudnnBackendHeurMode_t: CUDNN_HEUR_MODE_…
enum CuDNNHeuristic: Int32 {
  case a = 3
}
