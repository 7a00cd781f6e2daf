import ApusCore

/// com.microsoft.CropAndResize: regions of images, given by normalised corners [y1, x1, y2, x2], brought to one size.
///
/// Inputs: X [N,C,H,W], rois [regions,4], batch_indices [regions], crop_size [2]. Samples outside of the image get
/// `extrapolation_value`.
struct CropAndResizeOperator: Operator {
    static let schemas = [Schema("CropAndResize", domain: "com.microsoft", since: [1], inputs: 4...4)]

    private let isBilinear: Bool
    private let outside: Float

    init(_ node: NodeReader) throws {
        isBilinear = try node.choice("mode", of: ["bilinear", "nearest"], default: "bilinear") == "bilinear"
        outside = try node.float("extrapolation_value", default: 0)
    }

    var parameterInputs: [Int] { [3] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float64, .float16])
        guard try context.type(1) == type else { throw ApusError(.typeMismatch, "rois must be of type \(type.name)") }
        _ = try context.type(2, oneOf: [.int32])
        _ = try context.type(3, oneOf: [.int32])
        let x = try context.dimensions(0, rank: 4...4), rois = try context.dimensions(1, rank: 2...2)
        let indices = try context.dimensions(2, rank: 1...1)
        if let corners = rois?[1].known, corners != 4 {
            throw ApusError(.shapeMismatch, "rois must have shape [regions, 4], found \(try context.shape(1))")
        }
        if let a = rois?[0].known, let b = indices?[0].known, a != b {
            throw ApusError(.shapeMismatch, "\(a) regions have \(b) batch indices")
        }
        let size = try context.integers(3)
        if let size, size.count != 2 || size.contains(where: { $0 < 1 }) {
            throw ApusError(.invalidValue, "crop_size is \(size); two positive numbers expected")
        }
        return [
            ValueInfo(
                type,
                PartialShape([
                    rois?[0] ?? indices?[0] ?? .unknown, x?[1] ?? .unknown, size.map { .known($0[0]) } ?? .unknown,
                    size.map { .known($0[1]) } ?? .unknown,
                ]))
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitFloat(
            Visitor(input: try context.shape(0), output: try context.outputShape(0), isBilinear: isBilinear, outside: outside))
    }

    private struct Visitor: ElementVisitor {
        let input: Shape
        let output: Shape
        let isBilinear: Bool
        let outside: Float

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            let visitor = self
            return PreparedKernel("crop_and_resize") { io in
                let batches = io.input(2, as: Int32.self)
                for region in 0..<visitor.output[0] where batches[region] < 0 || batches[region] >= visitor.input[0] {
                    throw ApusError(.invalidValue, "batch index \(batches[region]) is outside of \(visitor.input[0]) images")
                }
                if visitor.output.count == 0 { return }
                let x = io.input(0, as: T.self), rois = io.input(1, as: T.self), y = io.output(0, as: T.self)
                let image = visitor.input.count(1...), made = visitor.output.count(1...)
                io.pool.inChunks(visitor.output[0], of: 1) { range in
                    for region in range {
                        visitor.crop(x + Int(batches[region]) * image, rois + region * 4, y + region * made)
                    }
                }
            }
        }

        private func crop<T: Element>(_ x: UnsafePointer<T>, _ roi: UnsafePointer<T>, _ y: UnsafeMutablePointer<T>) {
            let (height, width, rows, columns) = (input[2], input[3], output[2], output[3])
            func position(_ index: Int, _ count: Int, _ first: T, _ last: T, _ size: Int) -> Double {
                T.Number.self == Double.self
                    ? place(index, count, first.number.double, last.number.double, size)
                    // As floats where these are given: where samples lie in the middle, the last bit decides.
                    : Double(place(index, count, Float(first.number.double), Float(last.number.double), size))
            }
            let nothing = T(rounding: T.Number(converting: Double(outside)))
            for row in 0..<rows {
                let top = position(row, rows, roi[0], roi[2], height)
                for column in 0..<columns {
                    let left = position(column, columns, roi[1], roi[3], width)
                    let isInside = top >= 0 && top <= Double(height - 1) && left >= 0 && left <= Double(width - 1)
                    for channel in 0..<input[1] {
                        let plane = x + channel * height * width
                        let target = (channel * rows + row) * columns + column
                        y[target] = isInside ? sample(plane, top, left) : nothing
                    }
                }
            }
        }

        /// Where sample `index` of `count` lies between two corners of an axis of `size` pixels.
        private func place<N: BinaryFloatingPoint>(_ index: Int, _ count: Int, _ start: N, _ end: N, _ size: Int) -> N {
            let greatest = N(size - 1)
            if count < 2 { return 0.5 * (start + end) * greatest }
            return start * greatest + N(index) * ((end - start) * greatest / N(count - 1))
        }

        /// The image at a place inside of it.
        private func sample<T: Element>(_ plane: UnsafePointer<T>, _ top: Double, _ left: Double) -> T {
            let width = input[3]
            if !isBilinear {
                let row = Int(top.rounded(.toNearestOrAwayFromZero)), column = Int(left.rounded(.toNearestOrAwayFromZero))
                return plane[row * width + column]
            }
            func pixel(_ row: Double, _ column: Double) -> Double { plane[Int(row) * width + Int(column)].number.double }
            let (above, below, before, after) = (top.rounded(.down), top.rounded(.up), left.rounded(.down), left.rounded(.up))
            let upper = pixel(above, before) + (pixel(above, after) - pixel(above, before)) * (left - before)
            let lower = pixel(below, before) + (pixel(below, after) - pixel(below, before)) * (left - before)
            return T(rounding: T.Number(converting: upper + (lower - upper) * (top - above)))
        }
    }
}
