import ApusCore
import ApusGraph

/// Every operator there is: the one list. Sorted by name.
package enum Registry {
    private static let operators: [any Operator.Type] = [
        AffineGridOperator.self,
        ArgOperator.self,
        ArrayFeatureExtractorOperator.self,
        AttentionOperator.self,
        AxisNormalizationOperator.self,
        BatchNormalizationOperator.self,
        BernoulliOperator.self,
        BinarizerOperator.self,
        BinaryOperator.self,
        BitCastOperator.self,
        CastMapOperator.self,
        CastOperator.self,
        CategoryMapperOperator.self,
        CausalConvWithStateOperator.self,
        CenterCropPadOperator.self,
        ClipOperator.self,
        Col2ImOperator.self,
        CompressOperator.self,
        ConcatFromSequenceOperator.self,
        ConcatOperator.self,
        ConstantOfShapeOperator.self,
        ConstantOperator.self,
        ContributedAttentionOperator.self,
        ConvOperator.self,
        ConvTransposeOperator.self,
        CropAndResizeOperator.self,
        CumulativeOperator.self,
        DFTOperator.self,
        DeformConvOperator.self,
        DepthToSpaceOperator.self,
        DequantizeLinearOperator.self,
        DetOperator.self,
        DictVectorizerOperator.self,
        DropoutOperator.self,
        DynamicQuantizeLinearOperator.self,
        EinsumOperator.self,
        EmbedLayerNormalizationOperator.self,
        ExpandOperator.self,
        EyeLikeOperator.self,
        FeatureVectorizerOperator.self,
        FlattenOperator.self,
        FlexAttentionOperator.self,
        FusedOperator.self,
        GatherBlockQuantizedOperator.self,
        GatherElementsOperator.self,
        GatherNDOperator.self,
        GatherOperator.self,
        GeluOperator.self,
        GemmOperator.self,
        GlobalPoolOperator.self,
        GridSampleOperator.self,
        GroupNormalizationOperator.self,
        GroupQueryAttentionOperator.self,
        HardmaxOperator.self,
        IdentityOperator.self,
        IfOperator.self,
        ImageDecoderOperator.self,
        ImputerOperator.self,
        InverseOperator.self,
        LabelEncoderOperator.self,
        LayerNormalizationOperator.self,
        LinearAttentionOperator.self,
        LinearClassifierOperator.self,
        LinearRegressorOperator.self,
        LookupOperator.self,
        LoopOperator.self,
        LossOperator.self,
        MatMulNBitsOperator.self,
        MatMulOperator.self,
        MaxRoiPoolOperator.self,
        MaxUnpoolOperator.self,
        MelWeightMatrixOperator.self,
        MultinomialOperator.self,
        NonMaxSuppressionOperator.self,
        NonZeroOperator.self,
        NormalizerOperator.self,
        NotOperator.self,
        OneHotEncoderOperator.self,
        OneHotOperator.self,
        OptimizerOperator.self,
        OptionalGetElementOperator.self,
        OptionalHasElementOperator.self,
        OptionalOperator.self,
        PReluOperator.self,
        PadOperator.self,
        PoolOperator.self,
        PowOperator.self,
        PredicateOperator.self,
        QuantizeLinearOperator.self,
        QuantizedAveragePoolOperator.self,
        QuantizedBinaryOperator.self,
        QuantizedConcatOperator.self,
        QuantizedConvolutionOperator.self,
        QuantizedMeanOperator.self,
        QuantizedProductOperator.self,
        QuantizedRowsOperator.self,
        QuantizedSoftmaxOperator.self,
        QuantizedUnaryOperator.self,
        QuantizedWhereOperator.self,
        RandomFillOperator.self,
        RangeOperator.self,
        RecurrentOperator.self,
        ReduceOperator.self,
        RegexFullMatchOperator.self,
        ReshapeOperator.self,
        ResizeOperator.self,
        ReverseSequenceOperator.self,
        RoiAlignOperator.self,
        RotaryEmbeddingOperator.self,
        STFTOperator.self,
        ScalerOperator.self,
        ScanOperator.self,
        ScatterElementsOperator.self,
        ScatterNDOperator.self,
        SequenceConstructOperator.self,
        SequenceEditOperator.self,
        SequenceMapOperator.self,
        ShapeOperator.self,
        SizeOperator.self,
        SliceOperator.self,
        SoftmaxOperator.self,
        SplitOperator.self,
        SplitToSequenceOperator.self,
        SqueezeOperator.self,
        StringConcatOperator.self,
        StringNormalizerOperator.self,
        StringSplitOperator.self,
        SumLikeOperator.self,
        SupportVectorClassifierOperator.self,
        SupportVectorRegressorOperator.self,
        SwiGLUOperator.self,
        TensorScatterOperator.self,
        TfIdfVectorizerOperator.self,
        TileOperator.self,
        TopKOperator.self,
        TransposeOperator.self,
        TreeEnsembleClassifierOperator.self,
        TreeEnsembleOperator.self,
        TreeEnsembleRegressorOperator.self,
        TriluOperator.self,
        UnaryOperator.self,
        UniqueOperator.self,
        UnsqueezeOperator.self,
        VariadicOperator.self,
        WhereOperator.self,
        WindowOperator.self,
        ZipMapOperator.self,
    ]

    private struct Key: Hashable {
        let domain: String
        let opType: String
    }

    private static let table: [Key: (type: any Operator.Type, schema: Schema)] = {
        var table: [Key: (type: any Operator.Type, schema: Schema)] = [:]
        for type in operators {
            for schema in type.schemas {
                table[Key(domain: schema.domain, opType: schema.opType)] = (type, schema)
            }
        }
        return table
    }()

    /// Operators that become others when a model is loaded.
    package static let expanded = [
        Schema("Gradient", domain: "ai.onnx.preview.training", since: [1], inputs: 1...Int.max, outputs: 1...Int.max)
    ]

    /// The schemas of all operators, sorted by domain and name.
    package static var schemas: [Schema] {
        (operators.flatMap { $0.schemas } + expanded).sorted { ($0.domain, $0.opType) < ($1.domain, $1.opType) }
    }

    package static func schema(domain: String, opType: String) -> Schema? {
        table[Key(domain: domain, opType: opType)]?.schema
    }

    /// The operator of a node, its attributes read and checked. Errors name the node.
    package static func make(_ node: Node, in graph: Graph) throws -> any Operator {
        try attributed(to: graph.displayName(node)) {
            if let factory = node.implementation as? any OperatorFactory { return try factory.make(node) }
            guard let entry = table[Key(domain: node.domain, opType: node.opType)] else {
                throw ApusError(.unsupported, "operator \(node.qualifiedType) of opset \(node.opset) is unknown")
            }
            try entry.schema.check(node)
            let reader = try NodeReader(node)
            let made = try entry.type.init(reader)
            try reader.finish()
            return made
        }
    }
}
