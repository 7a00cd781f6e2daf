import ApusCore

/// Pools regions of feature maps to one size, sampling them bilinearly.
struct RoiAlignOperator: Operator {
    static let schemas = [Schema("RoiAlign", since: [10, 16, 22], inputs: 3...3)]

    private let isMaximum: Bool
    private let height: Int
    private let width: Int
    private let samplingRatio: Int
    private let spatialScale: Float
    private let isHalfPixel: Bool

    init(_ node: NodeReader) throws {
        isMaximum = try node.choice("mode", of: ["avg", "max"], default: "avg") == "max"
        height = try node.int("output_height", default: 1)
        width = try node.int("output_width", default: 1)
        samplingRatio = try node.int("sampling_ratio", default: 0)
        spatialScale = try node.float("spatial_scale", default: 1)
        isHalfPixel = node.opset >= 16
            ? try node.choice("coordinate_transformation_mode", of: ["half_pixel", "output_half_pixel"], default: "half_pixel") == "half_pixel"
            : false
        guard height > 0, width > 0, samplingRatio >= 0, samplingRatio <= 4096 else {
            throw ApusError(
                .invalidModel, "output_height \(height), output_width \(width) and sampling_ratio \(samplingRatio) make no grid")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float64, .float16, .bfloat16])
        _ = try context.commonType([0, 1])
        _ = try context.type(2, oneOf: [.int64])
        let image = try context.dimensions(0, rank: 4...4), regions = try context.dimensions(1, rank: 2...2)
        let batches = try context.dimensions(2, rank: 1...1)
        if let size = regions?[1].known, size != 4 { throw ApusError(.shapeMismatch, "regions have \(size) numbers, 4 expected") }
        if let a = regions?[0].known, let b = batches?[0].known, a != b {
            throw ApusError(.shapeMismatch, "there are \(a) regions, but \(b) batch indices")
        }
        return [
            ValueInfo(
                type, PartialShape([regions?[0] ?? batches?[0] ?? .unknown, image?[1] ?? .unknown, .known(height), .known(width)]))
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 { return try kernel(Double.self, context) }
        return try context.throughFloat32 { try kernel(Float.self, $0) }
    }

    private func kernel<T: BinaryFloatingPoint & BitwiseCopyable>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let image = try context.shape(0), output = try context.outputShape(0)
        let regions = output[0], channels = image[1], rows = image[2], columns = image[3]
        guard rows > 0 && columns > 0 || output.count == 0 else {
            throw ApusError(.shapeMismatch, "an input of shape \(image) has nothing to sample")
        }
        let (isMaximum, height, width, ratio, isHalfPixel) = (isMaximum, height, width, samplingRatio, isHalfPixel)
        let scale = T(spatialScale)
        return PreparedKernel("roi_align") { io in
            let source = io.input(0, as: T.self), boxes = io.input(1, as: T.self), batches = io.input(2, as: Int64.self)
            let target = io.output(0, as: T.self)
            for region in 0..<regions {
                let batch = Int(batches[region])
                guard batch >= 0, batch < image[0] else { throw ApusError.outOfRange(batch, image[0], "batch index") }
                for number in 0..<4 where !(boxes[region &* 4 &+ number].magnitude < 1e9) {
                    throw ApusError(.invalidValue, "region \(region) has the coordinate \(boxes[region &* 4 &+ number])")
                }
            }
            io.pool.parallel(regions) { region in
                let box = boxes + region &* 4
                let shift: T = isHalfPixel ? 0.5 : 0
                let left = box[0] * scale - shift, top = box[1] * scale - shift
                var boxWidth = box[2] * scale - shift - left, boxHeight = box[3] * scale - shift - top
                if !isHalfPixel {
                    boxWidth = max(boxWidth, 1)
                    boxHeight = max(boxHeight, 1)
                }
                let cellHeight = boxHeight / T(height), cellWidth = boxWidth / T(width)
                // Enough samples for every element under a cell, but no more than the image has.
                let down = ratio > 0 ? ratio : max(0, min(rows &* 2 &+ 2, Int(min(1e9, cellHeight.rounded(.up)))))
                let across = ratio > 0 ? ratio : max(0, min(columns &* 2 &+ 2, Int(min(1e9, cellWidth.rounded(.up)))))
                let samples = T(max(1, down &* across))
                for channel in 0..<channels {
                    let plane = source + (Int(batches[region]) &* channels &+ channel) &* rows &* columns
                    let to = target + (region &* channels &+ channel) &* height &* width
                    for row in 0..<height {
                        for column in 0..<width {
                            var sum: T = 0, greatest = -T.infinity
                            for i in 0..<down {
                                let y = top + T(row) * cellHeight + (T(i) + 0.5) * cellHeight / T(down)
                                for j in 0..<across {
                                    let x = left + T(column) * cellWidth + (T(j) + 0.5) * cellWidth / T(across)
                                    RoiAlignOperator.sample(plane, rows, columns, y, x, &sum, &greatest)
                                }
                            }
                            to[row &* width &+ column] = isMaximum ? (greatest == -T.infinity ? 0 : greatest) : sum / samples
                        }
                    }
                }
            }
        }
    }

    /// Adds the bilinear sample at (y, x) to `sum` and its greatest weighted corner, as ONNX has it, to `greatest`.
    private static func sample<T: BinaryFloatingPoint>(
        _ plane: UnsafePointer<T>, _ rows: Int, _ columns: Int, _ y: T, _ x: T, _ sum: inout T, _ greatest: inout T
    ) {
        guard y >= -1, y <= T(rows), x >= -1, x <= T(columns) else {
            greatest = max(greatest, 0)
            return
        }
        let y = max(0, min(T(rows - 1), y)), x = max(0, min(T(columns - 1), x))
        let top = Int(y), left = Int(x)
        let bottom = min(top + 1, rows - 1), right = min(left + 1, columns - 1)
        let dy = y - T(top), dx = x - T(left)
        let a = (1 - dy) * (1 - dx) * plane[top &* columns &+ left], b = (1 - dy) * dx * plane[top &* columns &+ right]
        let c = dy * (1 - dx) * plane[bottom &* columns &+ left], d = dy * dx * plane[bottom &* columns &+ right]
        sum += a + b + c + d
        greatest = max(greatest, max(max(a, b), max(c, d)))
    }
}
