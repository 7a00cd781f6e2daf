import ApusCore
import CApusKernels

/// An element that plain matrix products can be made of. Integers wrap around.
protocol ProductElement: BitwiseCopyable {
    static var additiveIdentity: Self { get }
    /// `sum + a * b`
    static func accumulate(_ sum: Self, _ a: Self, _ b: Self) -> Self
    /// `factor * value`, for the float attributes of Gemm.
    static func scaled(_ value: Self, by factor: Float) -> Self
    static func sum(_ a: Self, _ b: Self) -> Self
}

extension ProductElement where Self: BinaryFloatingPoint {
    static var additiveIdentity: Self { 0 }
    @inline(__always) static func accumulate(_ sum: Self, _ a: Self, _ b: Self) -> Self { sum + a * b }
    @inline(__always) static func scaled(_ value: Self, by factor: Float) -> Self { value * Self(factor) }
    @inline(__always) static func sum(_ a: Self, _ b: Self) -> Self { a + b }
}

extension ProductElement where Self: FixedWidthInteger {
    static var additiveIdentity: Self { 0 }
    @inline(__always) static func accumulate(_ sum: Self, _ a: Self, _ b: Self) -> Self { sum &+ a &* b }
    @inline(__always) static func sum(_ a: Self, _ b: Self) -> Self { a &+ b }

    /// Rounded towards zero, saturating.
    @inline(__always)
    static func scaled(_ value: Self, by factor: Float) -> Self {
        if factor == 1 { return value }
        let product = (Double(value) * Double(factor)).rounded(.towardZero)
        if product.isNaN { return 0 }
        return Self(exactly: product) ?? (product < 0 ? .min : .max)
    }
}

extension Float: ProductElement {}
extension Double: ProductElement {}
extension Int32: ProductElement {}
extension Int64: ProductElement {}
extension UInt32: ProductElement {}
extension UInt64: ProductElement {}

/// A matrix within a tensor: where its elements lie, counted in elements.
struct MatrixLayout: Sendable {
    var rows: Int
    var columns: Int
    var rowStride: Int
    var columnStride: Int
}

/// The kernel for products of doubles, and rows that are worth a call of it: all its tiles are full.
struct DoubleProduct: @unchecked Sendable {
    static let rows = 48
    fileprivate let function: @convention(c) (
        Int, Int, Int, UnsafePointer<Double>?, Int, Int, UnsafePointer<Double>?, Int, UnsafeMutablePointer<Double>?
    ) -> Void

    init?(levels: UInt32) {
        guard let function = apus_rowproduct_select(levels)?.pointee.doubles else { return nil }
        self.function = function
    }
}

/// C = A · B in the plainest way, C contiguous: for types and shapes without a kernel. `doubles` serves where they are doubles and the
/// rows of B contiguous.
func multiplyMatrices<T: ProductElement>(
    _ a: UnsafePointer<T>, _ aLayout: MatrixLayout, _ b: UnsafePointer<T>, _ bLayout: MatrixLayout, _ c: UnsafeMutablePointer<T>,
    rows: Range<Int>, _ doubles: DoubleProduct? = nil
) {
    let n = bLayout.columns, k = aLayout.columns
    if let doubles, T.self == Double.self, bLayout.columnStride == 1 {
        return doubles.function(
            rows.count, n, k, UnsafeRawPointer(a + rows.lowerBound * aLayout.rowStride).assumingMemoryBound(to: Double.self),
            aLayout.rowStride, aLayout.columnStride, UnsafeRawPointer(b).assumingMemoryBound(to: Double.self), bLayout.rowStride,
            UnsafeMutableRawPointer(c + rows.lowerBound * n).assumingMemoryBound(to: Double.self))
    }
    for row in rows {
        let out = c + row * n
        for column in 0..<n { out[column] = T.additiveIdentity }
        for inner in 0..<k {
            let factor = a[row * aLayout.rowStride + inner * aLayout.columnStride]
            let line = b + inner * bLayout.rowStride
            if bLayout.columnStride == 1 {
                for column in 0..<n { out[column] = T.accumulate(out[column], factor, line[column]) }
            } else {
                for column in 0..<n { out[column] = T.accumulate(out[column], factor, line[column * bLayout.columnStride]) }
            }
        }
    }
}

/// Element types of MatMul and Gemm.
let productTypes: [ElementType] = [.float32, .float16, .bfloat16, .float64, .uint32, .uint64, .int32, .int64]

/// Calls `body` with the Swift type of a numeric element type that plain products are made for.
func withProductElement<Result>(_ type: ElementType, _ body: (any ProductElement.Type) throws -> Result) throws -> Result {
    switch type {
    case .float32: try body(Float.self)
    case .float64: try body(Double.self)
    case .int32: try body(Int32.self)
    case .int64: try body(Int64.self)
    case .uint32: try body(UInt32.self)
    case .uint64: try body(UInt64.self)
    default: throw ApusError(.typeMismatch, "there is no matrix product of \(type.name)")
    }
}
