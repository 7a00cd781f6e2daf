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
        CDistOperator.self,
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
        ConvChainOperator.self,
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
        DynamicTimeWarpingOperator.self,
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
        NGramRepeatBlockOperator.self,
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
        QEmbedLayerNormalizationOperator.self,
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
        UnfoldTensorOperator.self,
        UniqueOperator.self,
        UnsqueezeOperator.self,
        VariadicOperator.self,
        WhereOperator.self,
        WindowOperator.self,
        ZipMapOperator.self,
    ]

    private typealias Entry = (type: any Operator.Type, schema: Schema)

    /// The entries by domain and name, by open addressing. Every process that makes a session builds it: a dictionary, whose keys are
    /// hashed for strangers' eyes, takes several times as long.
    private struct Table {
        private var entries: [Entry] = []
        /// Positions in `entries`, counted from 1; 0 is free. As many as a power of two.
        private var slots: [UInt16]

        init(_ types: [any Operator.Type]) {
            entries.reserveCapacity(2 * types.count)
            for type in types {
                for schema in type.schemas { entries.append((type, schema)) }
            }
            var size = 64
            while size < 2 * entries.count { size *= 2 }
            slots = [UInt16](repeating: 0, count: size)
            for (position, entry) in entries.enumerated() {
                slots[slot(domain: entry.schema.domain, opType: entry.schema.opType)] = UInt16(truncatingIfNeeded: position + 1)
            }
        }

        func find(domain: String, opType: String) -> Entry? {
            let position = slots[slot(domain: domain, opType: opType)]
            return position == 0 ? nil : entries[Int(position) - 1]
        }

        /// Where the operator stands, or would stand.
        private func slot(domain: String, opType: String) -> Int {
            var hash: UInt32 = 2_166_136_261
            for byte in opType.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
            for byte in domain.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
            var slot = Int(hash) & (slots.count - 1)
            while slots[slot] != 0 {
                let schema = entries[Int(slots[slot]) - 1].schema
                if schema.opType == opType, schema.domain == domain { break }
                slot = (slot + 1) & (slots.count - 1)
            }
            return slot
        }
    }

    private static let table = Table(operators)

    /// Operators that become others when a model is loaded.
    package static let expanded = [
        Schema("Gradient", domain: "ai.onnx.preview.training", since: [1], inputs: 1...Int.max, outputs: 1...Int.max)
    ]

    /// The schemas of all operators, sorted by domain and name.
    package static var schemas: [Schema] {
        (operators.flatMap { $0.schemas } + expanded).sorted { ($0.domain, $0.opType) < ($1.domain, $1.opType) }
    }

    package static func schema(domain: String, opType: String) -> Schema? {
        table.find(domain: domain, opType: opType)?.schema
    }

    /// The operator of a node, its attributes read and checked. Errors name the node.
    package static func make(_ node: Node, in graph: Graph) throws -> any Operator {
        try attributed(to: graph.displayName(node)) {
            if let factory = node.implementation as? any OperatorFactory { return try factory.make(node) }
            guard let entry = table.find(domain: node.domain, opType: node.opType) else {
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
