import ApusCore
import Synchronization
import Testing

@testable import ApusOperators

@Suite struct FloatProductTests {
    /// How B lies: rows after one another, columns after one another, taps apart, and a layout that is neither.
    private static let layouts: [(taps: Int, tap: Int, row: Int, column: Int)] = [
        (1, 0, 37, 1), (1, 0, 1, 53), (3, 1, 3, 159), (1, 0, 40, 1), (1, 0, 74, 2), (2, 0, 1, 53),
    ]

    @Test(arguments: layouts.indices)
    func packingInPiecesGivesTheSame(index: Int) throws {
        let layout = FloatProductTests.layouts[index], k = 53, n = 37
        let product = try FloatProduct(levels: CPUCap.levels(nil), m: 4, n: n, k: k, taps: layout.taps, threads: 1)
        let count = (layout.taps - 1) * layout.tap + (k - 1) * layout.row + (n - 1) * layout.column + 1
        let offset = 5
        let elements = try Storage.allocate(byteCount: (count + offset + 3) * 4, budget: .shared)
        for element in 0..<(count + offset + 3) {
            elements.base.storeBytes(of: Float(element), toByteOffset: element * 4, as: Float.self)
        }
        let dropped = Mutex<[Range<Int>]>([])
        let storage = Storage.borrow(
            elements.base, byteCount: elements.byteCount, owner: elements, onDropPages: { range in dropped.withLock { $0.append(range) } })
        // A tensor that does not begin where its storage does.
        let tensor = try Tensor(type: .float32, shape: .vector(count + offset), storage: storage, offset: 12)
        func packed(_ body: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
            [Float](unsafeUninitializedCapacity: product.packedCount) { buffer, initialized in
                buffer.initialize(repeating: -1)
                if let base = buffer.baseAddress { body(base) }
                initialized = product.packedCount
            }
        }
        let whole = packed {
            product.pack(
                tensor.pointer.assumingMemoryBound(to: Float.self) + offset, tapStride: layout.tap, rowStride: layout.row,
                columnStride: layout.column, to: $0)
        }
        for piece in [4, 1000, 4096, 1 << 20] {
            dropped.withLock { $0 = [] }
            let inPieces = packed {
                product.pack(
                    constant: tensor, offset: offset, tapStride: layout.tap, rowStride: layout.row, columnStride: layout.column, to: $0,
                    piece: piece)
            }
            #expect(inPieces == whole)
            let ranges = dropped.withLock { $0 }
            #expect(ranges.allSatisfy { $0.lowerBound >= 12 + offset * 4 && $0.upperBound <= elements.byteCount })
            // The pieces follow one another.
            #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
        }
        let smallest = dropped.withLock { $0 }
        #expect(smallest.isEmpty)
    }
}

@Suite struct PackCacheTests {
    @Test func onlyFormsOfWeightsAreKept() throws {
        let cache = PackCache(budget: MemoryBudget())
        let weight = try Tensor(.float32, [2], [Float](arrayLiteral: 1, 2)), other = try Tensor(.float32, [2], [Float](arrayLiteral: 3, 4))
        cache.keepForms(of: weight)
        var made = 0
        func form(_ tensor: Tensor, _ key: String) throws -> Storage {
            try cache.storage(of: tensor, key: key) { _, budget in
                made += 1
                return try Storage.allocate(byteCount: 8, budget: budget)
            }
        }
        let first = try form(weight, "a")
        #expect(try form(weight, "a") === first)
        #expect(made == 1)
        _ = try form(weight, "b")
        #expect(made == 2)
        #expect(try form(other, "a") !== form(other, "a"))
        #expect(made == 4)
        #expect(cache.byteCount == 16)
    }
}
