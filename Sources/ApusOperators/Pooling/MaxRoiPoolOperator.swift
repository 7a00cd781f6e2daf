import ApusCore
import ApusGraph

/// The greatest elements in the cells of a grid laid over regions of images (Girshick, "Fast R-CNN", 2015).
///
/// A region is [image, x1, y1, x2, y2]; its corners are scaled and rounded, both belong to it. Empty cells give 0.
struct MaxRoiPoolOperator: Operator {
    static let schemas = [Schema("MaxRoiPool", since: [1, 22], inputs: 2...2)]

    private let pooled: [Int]
    private let scale: Float

    init(_ node: NodeReader) throws {
        pooled = try node.ints("pooled_shape")
        scale = try node.float("spatial_scale", default: 1)
        guard pooled.count == 2, pooled.allSatisfy({ $0 >= 1 }) else {
            throw ApusError(.invalidModel, "attribute \"pooled_shape\" must be two positive numbers, found \(pooled)")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        _ = try context.commonType([0, 1])
        let x = try context.dimensions(0, rank: 4...4), regions = try context.dimensions(1, rank: 2...2)
        if let width = regions?[1].known, width != 5 {
            throw ApusError(.shapeMismatch, "regions must have 5 numbers each, found \(width)")
        }
        return [ValueInfo(type, PartialShape([regions?[0] ?? .unknown, x?[1] ?? .unknown, .known(pooled[0]), .known(pooled[1])]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitReal(Preparation(node: self, context: context))
    }

    private struct Preparation: RealVisitor {
        let node: MaxRoiPoolOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            let shape = try context.shape(0), regions = try context.shape(1)[0]
            let images = shape[0], channels = shape[1], height = shape[2], width = shape[3]
            let rows = node.pooled[0], columns = node.pooled[1], scale = Double(node.scale)
            if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
            return PreparedKernel("max_roi_pool") { io in
                let x = io.input(0, as: T.self), rois = io.input(1, as: T.self), y = io.output(0, as: T.self)
                for region in 0..<regions {
                    let image = Double(rois[region * 5].number)
                    guard image >= 0, image < Double(images) else {
                        throw ApusError(.invalidValue, "region \(region) is of image \(image), but there are \(images)")
                    }
                }
                io.pool.parallel(regions * channels) { index in
                    let region = index / channels, roi = rois + region * 5
                    let plane = x + (Int(roi[0].number) * channels + index % channels) * height * width
                    func corner(_ position: Int) -> Double { (Double(roi[position].number) * scale).rounded(.toNearestOrAwayFromZero) }
                    func cells(_ first: Double, _ last: Double, _ count: Int, _ cell: Int, _ limit: Int) -> Range<Int> {
                        let size = Double.greater(last - first + 1, 1) / Double(count)
                        func clipped(_ position: Double) -> Int { Int(Double.lesser(Double.greater(position + first, 0), Double(limit))) }
                        let start = Double(cell) * size, end = Double(cell + 1) * size
                        // What is not a number is an empty cell.
                        guard start + first == start + first, end - start == end - start else { return 0..<0 }
                        let low = clipped(start.rounded(.down)), high = clipped(end.rounded(.up))
                        return low..<max(low, high)
                    }
                    for row in 0..<rows {
                        let vertical = cells(corner(2), corner(4), rows, row, height)
                        for column in 0..<columns {
                            let horizontal = cells(corner(1), corner(3), columns, column, width)
                            var greatest = vertical.isEmpty || horizontal.isEmpty ? T.Number.zero : T.Number.lowest
                            for i in vertical {
                                for j in horizontal { greatest = T.Number.greater(greatest, plane[i * width + j].number) }
                            }
                            y[(index * rows + row) * columns + column] = T(rounding: greatest)
                        }
                    }
                }
            }
        }
    }
}
