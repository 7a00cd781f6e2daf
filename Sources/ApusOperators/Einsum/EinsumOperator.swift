import ApusCore
import CApusKernels

/// Einstein's sum convention: products of operands, summed over the labels that the result lacks.
///
/// Two operands at a time become a batched matrix product: labels that both have and that are needed later are the batch,
/// those of one side rows or columns, all others the inner dimension.
struct EinsumOperator: Operator {
    static let schemas = [Schema("Einsum", since: [12, 28], inputs: 1...Int.max)]

    private let equation: EinsumEquation

    init(_ node: NodeReader) throws {
        equation = try EinsumEquation(try node.string("equation"), operands: node.inputCount)
    }

    private static let types: [ElementType] =
        [.float32, .float64, .float16, .bfloat16, .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64]

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: Self.types)
        for index in context.inputs.indices { _ = try context.input(index) }
        let type = try context.commonType(context.inputs.indices)
        let shapes = try context.inputs.indices.compactMap { try context.shape($0).dimensions }
        guard shapes.count == context.inputs.count else { return [ValueInfo(type, .unknown)] }
        let labels = try equation.labels(ranks: shapes.map(\.count))
        let sizes = try equation.sizes(labels, shapes)
        return [ValueInfo(type, PartialShape(labels.result.map { sizes[$0] ?? .unknown }))]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        let shapes = inputs.compactMap { $0?.type.shape?.dimensions }
        guard shapes.count == inputs.count, let labels = try? equation.labels(ranks: shapes.map(\.count)),
            let sizes = try? equation.sizes(labels, shapes)
        else { return 0 }
        let known = sizes.values.compactMap(\.known)
        return known.count == sizes.count ? FloatProduct.saturatingProduct(known) : 0
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        switch type {
        case .float32, .float16, .bfloat16: return try context.throughFloat32(prepareFloat32)
        case .int8, .int16, .uint8, .uint16:
            // Sums modulo 2^32 are right in their low bits.
            let plan = try plan(context, width: 4, floats: false)
            let counts = try context.inputs.indices.map { try context.shape($0).count }
            return try type.visitInteger(Widening(plan: plan, counts: counts, outputCount: try context.outputShape(0).count))
        default:
            let plan = try plan(context, width: try context.type(0).byteWidth ?? 8, floats: false)
            return try withProductElement(type) { generic($0, plan) }
        }
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let plan = try plan(context, width: 4, floats: true)
        return PreparedKernel("einsum", workspace: plan.workspace) { io in
            plan.run(Float.self, io, inputs: { io.input($0) }, output: io.output(0), workspace: io.workspace)
        }
    }

    private func generic<T: ProductElement>(_: T.Type, _ plan: EinsumPlan) -> any PreparedNode {
        PreparedKernel("einsum_generic", workspace: plan.workspace) { io in
            plan.run(T.self, io, inputs: { io.input($0) }, output: io.output(0), workspace: io.workspace)
        }
    }

    private func plan(_ context: PrepareContext, width: Int, floats: Bool) throws -> EinsumPlan {
        let shapes = try context.inputs.indices.map { try context.shape($0) }
        let labels = try equation.labels(ranks: shapes.map(\.rank))
        let sizes = try equation.sizes(labels, shapes.map { $0.dimensions.map(Dimension.known) }).compactMapValues(\.known)
        return try EinsumPlan(
            labels, shapes, sizes, width: width, levels: floats ? context.levels : nil, threads: context.threads)
    }

    /// Small integers, computed with as 32-bit ones.
    private struct Widening: IntegerVisitor {
        let plan: EinsumPlan
        let counts: [Int]
        let outputCount: Int

        func visit<T: Arithmetic & FixedWidthInteger>(_: T.Type) throws -> any PreparedNode {
            var end = try plan.workspace.roundedUp(to: 64)
            let places = try counts.map { count in
                let start = end
                end = try end.adding(count.multiplied(by: 4)).roundedUp(to: 64)
                return start
            }
            let result = end
            end = try end.adding(outputCount.multiplied(by: 4))
            let (plan, counts, outputCount) = (plan, counts, outputCount)
            return PreparedKernel("einsum_generic", workspace: end) { io in
                for (index, place) in places.enumerated() {
                    let from = io.input(index, as: T.self), to = (io.workspace + place).assumingMemoryBound(to: Int32.self)
                    for element in 0..<counts[index] { to[element] = Int32(truncatingIfNeeded: from[element]) }
                }
                let sums = io.workspace + result
                plan.run(
                    Int32.self, io, inputs: { UnsafeRawPointer(io.workspace + places[$0]) }, output: sums, workspace: io.workspace)
                let from = sums.assumingMemoryBound(to: Int32.self), to = io.output(0, as: T.self)
                for element in 0..<outputCount { to[element] = T(truncatingIfNeeded: from[element]) }
            }
        }
    }
}

/// The steps of an Einsum for operands of given shapes.
final class EinsumPlan: @unchecked Sendable {
    private enum Place {
        case input(Int)
        case workspace(Int)
        case output
    }

    /// A tensor on the way: where it lies, and its step along each label it has.
    private struct View {
        var place: Place
        var labels: [Int]
        var strides: [Int: Int]
    }

    private struct Move {
        let copy: StridedCopy
        let from: Place
        let to: Place
    }

    private struct Product {
        let a: Place
        let b: Place
        let c: Place
        let batch: Int
        let m: Int
        let n: Int
        let k: Int
        /// Where float32 is multiplied by the kernels: the product, its packed B and its scratch memory.
        let float: FloatProduct?
        let packed: Int
        let scratch: Int
    }

    private enum Step {
        case move(Move)
        case product(Product)
        /// Sums rows of `length` elements.
        case sum(from: Place, to: Place, rows: Int, length: Int)
        case zero(Int)
    }

    private var steps: [Step] = []
    private(set) var workspace = 0
    private let width: Int
    private let sizes: [Int: Int]
    private let levels: UInt32?
    private let threads: Int

    /// `levels`: the kernels for float32; nil where the elements are of another type. `width`: bytes of one element.
    init(
        _ labels: EinsumEquation.Labels, _ shapes: [Shape], _ sizes: [Int: Int], width: Int, levels: UInt32?, threads: Int
    ) throws {
        self.width = width
        self.sizes = sizes
        self.levels = levels
        self.threads = threads
        let resultCount = try checkedProduct(labels.result.map { sizes[$0] ?? 0 })
        if sizes.values.contains(0) {
            steps = [.zero(resultCount)]
            return
        }
        var views = zip(labels.operands, shapes).enumerated().map { index, item in
            EinsumPlan.view(.input(index), item.0, item.1)
        }
        var current = views.removeFirst()
        for (position, next) in views.enumerated() {
            let later = Set(labels.result).union(views[(position + 1)...].flatMap(\.labels))
            current = try contract(current, next, later, labels.result, isLast: position == views.count - 1)
        }
        try finish(current, labels.result)
    }

    private static func view(_ place: Place, _ labels: [Int], _ shape: Shape) -> View {
        var strides: [Int: Int] = [:]
        var order: [Int] = []
        for ((label, stride), size) in zip(zip(labels, shape.strides), shape.dimensions) {
            if strides[label] == nil { order.append(label) }
            // A label that occurs twice walks along the diagonal; an axis of size 1 stays where it is.
            strides[label, default: 0] += size == 1 ? 0 : stride
        }
        return View(place: place, labels: order, strides: strides)
    }

    private func count(_ labels: [Int]) throws -> Int { try checkedProduct(labels.map { sizes[$0] ?? 1 }) }

    private func reserve(_ elements: Int, width: Int? = nil) throws -> Int {
        let start = workspace
        workspace = try start.adding(elements.multiplied(by: width ?? self.width)).roundedUp(to: 64)
        return start
    }

    /// The view's elements in the order of `labels`, contiguous: a copy unless they lie so already.
    private func arranged(_ view: View, _ labels: [Int], to place: Place? = nil) throws -> Place {
        var step = 1
        var isArranged = true
        for label in labels.reversed() {
            let size = sizes[label] ?? 1
            if size != 1, view.strides[label] ?? 0 != step { isArranged = false }
            step = try step.multiplied(by: size)
        }
        if isArranged, place == nil { return view.place }
        let target = try place ?? .workspace(reserve(step))
        let copy = StridedCopy(
            toContiguous: labels.map { sizes[$0] ?? 1 }, source: labels.map { view.strides[$0] ?? 0 }, width: width)
        steps.append(.move(Move(copy: copy, from: view.place, to: target)))
        return target
    }

    private func contiguous(_ place: Place, _ labels: [Int]) -> View {
        var strides: [Int: Int] = [:]
        var step = 1
        for label in labels.reversed() {
            strides[label] = step
            step = step &* (sizes[label] ?? 1)
        }
        return View(place: place, labels: labels, strides: strides)
    }

    private func contract(_ first: View, _ second: View, _ later: Set<Int>, _ result: [Int], isLast: Bool) throws -> View {
        func order(_ labels: [Int]) -> [Int] {
            labels.sorted { (result.firstIndex(of: $0) ?? .max, $0) < (result.firstIndex(of: $1) ?? .max, $1) }
        }
        var a = first, b = second
        // Whoever's labels come last in the result gives the columns.
        let lastOwn = result.last { a.labels.contains($0) != b.labels.contains($0) }
        if let lastOwn, a.labels.contains(lastOwn) { swap(&a, &b) }
        let shared = a.labels.filter { b.labels.contains($0) }
        let batch = order(shared.filter { later.contains($0) })
        let rows = order(a.labels.filter { !b.labels.contains($0) && later.contains($0) })
        let columns = order(b.labels.filter { !a.labels.contains($0) && later.contains($0) })
        let inner = (a.labels + b.labels.filter { !a.labels.contains($0) }).filter { !later.contains($0) }
        let aPlace = try arranged(a, batch + rows + inner)
        let bPlace = try arranged(b, batch + inner + columns)
        let labels = batch + rows + columns
        let (m, n, k) = (try count(rows), try count(columns), try count(inner))
        let total = try count(labels)
        let target: Place = isLast && labels == result ? .output : .workspace(try reserve(total))
        var float: FloatProduct?
        var packed = 0, scratch = 0
        if let levels {
            let product = try FloatProduct(levels: levels, m: m, n: n, k: k, threads: threads)
            packed = try reserve(product.packedCount)
            scratch = try reserve(product.workspaceByteCount, width: 1)
            float = product
        }
        steps.append(
            .product(
                Product(
                    a: aPlace, b: bPlace, c: target, batch: try count(batch), m: m, n: n, k: k, float: float, packed: packed,
                    scratch: scratch)))
        return contiguous(target, labels)
    }

    private func finish(_ view: View, _ result: [Int]) throws {
        if case .output = view.place { return }
        let summed = view.labels.filter { !result.contains($0) }
        guard !summed.isEmpty else {
            _ = try arranged(view, result, to: .output)
            return
        }
        let place = try arranged(view, result + summed)
        steps.append(.sum(from: place, to: .output, rows: try count(result), length: try count(summed)))
    }

    // MARK: Running

    func run<T: ProductElement>(
        _: T.Type, _ io: NodeIO, inputs: (Int) -> UnsafeRawPointer, output: UnsafeMutableRawPointer, workspace: UnsafeMutableRawPointer
    ) {
        func source(_ place: Place) -> UnsafeRawPointer {
            switch place {
            case .input(let index): inputs(index)
            case .workspace(let offset): UnsafeRawPointer(workspace + offset)
            case .output: UnsafeRawPointer(output)
            }
        }
        func target(_ place: Place) -> UnsafeMutableRawPointer {
            if case .workspace(let offset) = place { return workspace + offset }
            return output
        }
        for step in steps {
            switch step {
            case .move(let move):
                move.copy.run(from: source(move.from), to: target(move.to), pool: io.pool)
            case .sum(let from, let to, let rows, let length):
                let from = source(from).assumingMemoryBound(to: T.self), to = target(to).assumingMemoryBound(to: T.self)
                for row in 0..<rows {
                    var sum = T.additiveIdentity
                    for index in 0..<length { sum = T.sum(sum, from[row &* length &+ index]) }
                    to[row] = sum
                }
            case .zero(let count):
                output.initializeMemory(as: UInt8.self, repeating: 0, count: count &* width)
            case .product(let product):
                multiply(product, T.self, source(product.a), source(product.b), target(product.c), workspace, io.pool)
            }
        }
    }

    private func multiply<T: ProductElement>(
        _ product: Product, _: T.Type, _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ c: UnsafeMutableRawPointer,
        _ workspace: UnsafeMutableRawPointer, _ pool: ThreadPool
    ) {
        let (m, n, k) = (product.m, product.n, product.k)
        if let float = product.float {
            let a = a.assumingMemoryBound(to: Float.self), b = b.assumingMemoryBound(to: Float.self)
            let c = c.assumingMemoryBound(to: Float.self)
            let packed = (workspace + product.packed).assumingMemoryBound(to: Float.self)
            var args = float.arguments(aStride: k, cStride: n)
            for index in 0..<product.batch {
                float.pack(b + index &* k &* n, rowStride: n, columnStride: 1, to: packed, pool: pool)
                args.a = a + index &* m &* k
                args.b = UnsafePointer(packed)
                args.c = c + index &* m &* n
                float.run(args, workspace: workspace + product.scratch, pool: pool)
            }
            return
        }
        let a = a.assumingMemoryBound(to: T.self), b = b.assumingMemoryBound(to: T.self), c = c.assumingMemoryBound(to: T.self)
        let left = MatrixLayout(rows: m, columns: k, rowStride: k, columnStride: 1)
        let right = MatrixLayout(rows: k, columns: n, rowStride: n, columnStride: 1)
        pool.parallelUnlessStopped(product.batch) { index in
            multiplyMatrices(a + index &* m &* k, left, b + index &* k &* n, right, c + index &* m &* n, rows: 0..<m)
        }
    }
}
