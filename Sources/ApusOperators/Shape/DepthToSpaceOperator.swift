import ApusCore

/// Moves blocks of channels into the plane (DepthToSpace) or squares of the plane into channels (SpaceToDepth).
struct DepthToSpaceOperator: Operator {
    static let schemas = [
        Schema("DepthToSpace", since: [1, 11, 13, 28], inputs: 1...1),
        Schema("SpaceToDepth", since: [1, 13, 28], inputs: 1...1),
    ]

    private let block: Int
    private let toSpace: Bool
    /// Whether the place within a block is the outer part of the channel number (DCR) or the inner (CRD).
    private let blockFirst: Bool

    init(_ node: NodeReader) throws {
        toSpace = node.opType == "DepthToSpace"
        block = try node.int("blocksize")
        guard block > 0 else { throw ApusError(.invalidModel, "blocksize \(block) is not positive") }
        let hasMode = node.opset >= (toSpace ? 11 : 28)
        blockFirst = hasMode ? try node.choice("mode", of: ["DCR", "CRD"], default: "DCR") == "DCR" : true
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        guard let dimensions = try context.dimensions(0, rank: 4...4) else { return [ValueInfo(type, .ofRank(4))] }
        let area = try block.multiplied(by: block)
        func divided(_ dimension: Dimension, _ divisor: Int, _ what: String) throws -> Dimension {
            if let size = dimension.known, size % divisor != 0 {
                throw ApusError(.shapeMismatch, "\(what) \(size) is no multiple of \(divisor) (blocksize \(block))")
            }
            return dimension.dividedExactly(by: .known(divisor)) ?? .unknown
        }
        let result: [Dimension]
        if toSpace {
            result = [
                dimensions[0], try divided(dimensions[1], area, "the number of channels"),
                dimensions[2] * .known(block), dimensions[3] * .known(block),
            ]
        } else {
            result = [
                dimensions[0], dimensions[1] * .known(area),
                try divided(dimensions[2], block, "the height"), try divided(dimensions[3], block, "the width"),
            ]
        }
        return [ValueInfo(type, PartialShape(result))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let deep = try toSpace ? context.shape(0) : context.outputShape(0)
        let b = block, height = deep[2], width = deep[3]
        let channels = deep[1] / (b &* b)
        let plane = height &* width
        // The deep side as [batch, channel, row in block, column in block, row, column].
        let channelStride = (blockFirst ? 1 : b &* b) &* plane
        let placeStride = (blockFirst ? channels : 1) &* plane
        let inDeep = [deep[1] &* plane, channelStride, placeStride &* b, placeStride, width, 1]
        let wide = width &* b
        let inWide = [channels &* plane &* b &* b, plane &* b &* b, wide, 1, wide &* b, b]
        let copy = StridedCopy(
            extents: [deep[0], channels, b, b, height, width], source: toSpace ? inDeep : inWide,
            target: toSpace ? inWide : inDeep, width: context.movedWidth(type))
        return try context.movement(toSpace ? "depth_to_space" : "space_to_depth", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}
