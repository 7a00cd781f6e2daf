import ApusCore
import ApusGraph

/// Input types of the classical models, whose numbers are used as floats.
let classicalTypes: [ElementType] = [.float32, .float64, .int64, .int32]

extension ElementType {
    /// As `visit`, for `classicalTypes` and float16 only.
    func visitClassical<Visitor: ElementVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .float32: try visitor.visit(Float.self)
        case .float64: try visitor.visit(Double.self)
        case .float16: try visitor.visit(Half.self)
        case .int64: try visitor.visit(Int64.self)
        case .int32: try visitor.visit(Int32.self)
        default: throw unsupported("a float of 16 bits or more, int64 or int32")
        }
    }
}

/// Rows and features of a classical model's input: [N, F], or [F] as one row.
func rowsAndFeatures(_ shape: PartialShape) throws -> (rows: Dimension, features: Dimension)? {
    guard let dimensions = shape.dimensions else { return nil }
    switch dimensions.count {
    case 1: return (.known(1), dimensions[0])
    case 2: return (dimensions[0], dimensions[1])
    default: throw ApusError(.shapeMismatch, "the input must have shape [N, F] or [F], found \(shape)")
    }
}

/// Throws unless the input has the features that the model looks at; returns its rows.
func checkedRows(_ context: InferenceContext, _ featureCount: Int) throws -> Dimension {
    guard let (rows, features) = try rowsAndFeatures(try context.shape(0)) else { return .unknown }
    if let found = features.known, found < featureCount {
        throw ApusError(.shapeMismatch, "the input has \(found) features, the model looks at feature \(featureCount - 1)")
    }
    return rows
}

/// Throws unless the input has exactly `featureCount` features (nil: not known); returns its rows.
func exactRows(_ context: InferenceContext, _ featureCount: Int?) throws -> Dimension {
    guard let (rows, features) = try rowsAndFeatures(try context.shape(0)) else { return .unknown }
    if let found = features.known, let featureCount, found != featureCount {
        throw ApusError(.shapeMismatch, "the input has \(found) features, the model has coefficients for \(featureCount)")
    }
    return rows
}

/// The input of a classical model as rows of floats: read in place, or converted through the workspace.
struct FloatRows: Sendable {
    let rows: Int
    let features: Int
    /// Bytes at the start of the workspace that the conversion takes.
    let workspaceByteCount: Int
    private let convert: UnaryLoop?
    private let width: Int

    init(_ context: PrepareContext) throws {
        let shape = try context.shape(0), type = try context.type(0)
        rows = shape.rank == 1 ? 1 : shape[0]
        features = shape.rank == 1 ? shape[0] : shape[1]
        width = type.byteWidth ?? 1
        convert = type == .float32 ? nil : try castLoop(type, .float32)
        workspaceByteCount = convert == nil ? 0 : try shape.count.multiplied(by: 4).roundedUp(to: Storage.alignment)
    }

    /// The rows, converted where they must be. Only at the start of a run: it writes to the workspace.
    func read(_ io: NodeIO) -> UnsafePointer<Float> {
        guard let convert else { return io.input(0, as: Float.self) }
        let source = io.input(0), target = io.workspace
        io.pool.inChunks(rows * features) { range in
            convert(range.count, source + range.lowerBound * width, target + range.lowerBound * 4)
        }
        return UnsafePointer(target.assumingMemoryBound(to: Float.self))
    }
}

/// The sum of products of two vectors, in eight partial sums.
func innerProduct(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    reduced(a, b, count) { $0 * $1 }
}

/// The sum of squared differences of two vectors, in eight partial sums.
func squaredDistance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    reduced(a, b, count) { ($0 - $1) * ($0 - $1) }
}

@inline(__always)
private func reduced(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int, _ term: (SIMD8<Float>, SIMD8<Float>) -> SIMD8<Float>
) -> Float {
    var sums = SIMD8<Float>.zero
    let whole = count & ~7
    var index = 0
    while index < whole {
        let x = UnsafeRawPointer(a + index).loadUnaligned(as: SIMD8<Float>.self)
        let y = UnsafeRawPointer(b + index).loadUnaligned(as: SIMD8<Float>.self)
        sums += term(x, y)
        index += 8
    }
    var x = SIMD8<Float>.zero, y = SIMD8<Float>.zero
    for lane in 0..<count - whole {
        x[lane] = a[whole + lane]
        y[lane] = b[whole + lane]
    }
    return (sums + term(x, y)).sum()
}
