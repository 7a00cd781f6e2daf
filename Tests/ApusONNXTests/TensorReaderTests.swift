import ApusCore
import ApusGraph
import Testing

@testable import ApusONNX

/// Every encoding of a tensor's data.
struct TensorReaderTests {
    private func bytes(_ tensor: [UInt8]) throws -> [UInt8] {
        let tensor = try #require(try loadInitializer(tensor)?.asTensor())
        return Array(UnsafeRawBufferPointer(start: tensor.pointer, count: tensor.byteCount))
    }

    // MARK: Encodings

    @Test(arguments: ElementType.allCases.filter { $0 != .string })
    func rawData(type: ElementType) throws {
        let size = try #require(type.byteCount(5))
        // Bytes that are valid for every type; the last one leaves unused bits zero.
        var data = (0..<size).map { type == .bool ? UInt8($0 % 2) : UInt8(truncatingIfNeeded: $0 * 37 + 1) }
        if type.bitWidth < 8 { data[size - 1] = 1 }
        #expect(try bytes(Wire.tensor("w", Int(type.rawValue), [5], Wire.bytes(9, data))) == data)
        for wrong in [Array(data.dropLast()), data + [0], []] {
            let error = errorThrown { _ = try bytes(Wire.tensor("w", Int(type.rawValue), [5], Wire.bytes(9, wrong))) }
            #expect(error?.code == .invalidModel)
            #expect(error?.message.contains("initializer \"w\"") == true)
        }
    }

    /// Types whose elements stand one by one in int32_data, with the bytes that 1, -1 and 0x12345 give.
    @Test(arguments: [
        (ElementType.int32, [1, 0, 0, 0, 255, 255, 255, 255, 0x45, 0x23, 1, 0]), (.int16, [1, 0, 255, 255, 0x45, 0x23]),
        (.uint16, [1, 0, 255, 255, 0x45, 0x23]), (.float16, [1, 0, 255, 255, 0x45, 0x23]), (.bfloat16, [1, 0, 255, 255, 0x45, 0x23]),
        (.int8, [1, 255, 0x45]), (.uint8, [1, 255, 0x45]), (.bool, [1, 1, 1]), (.float8e4m3fn, [1, 255, 0x45]),
        (.float8e4m3fnuz, [1, 255, 0x45]), (.float8e5m2, [1, 255, 0x45]), (.float8e5m2fnuz, [1, 255, 0x45]),
        (.float8e8m0, [1, 255, 0x45]),
    ] as [(ElementType, [UInt8])])
    func int32Data(type: ElementType, expected: [UInt8]) throws {
        let values = [1, -1, 0x12345]
        let number = Int(type.rawValue)
        #expect(try bytes(Wire.tensor("w", number, [3], Wire.packed(5, values))) == expected)
        #expect(try bytes(Wire.tensor("w", number, [3], values.flatMap { Wire.int(5, $0) })) == expected)
        #expect(try bytes(Wire.tensor("w", number, [3], Wire.packed(5, [1, -1]), Wire.int(5, 0x12345))) == expected)
        #expect(errorThrown { _ = try bytes(Wire.tensor("w", number, [3], Wire.packed(5, [1, 2]))) }?.code == .invalidModel)
    }

    @Test func bitPackedTypesInInt32Data() throws {
        #expect(try bytes(Wire.tensor("w", 21, [3], Wire.packed(5, [0x21, 0xF3]))) == [0x21, 0x03])
        #expect(try bytes(Wire.tensor("w", 22, [4], Wire.packed(5, [0x21, 0xF3]))) == [0x21, 0xF3])
        #expect(try bytes(Wire.tensor("w", 25, [5], Wire.packed(5, [0xE4, 0xFF]))) == [0xE4, 0x03])
        #expect(errorThrown { _ = try bytes(Wire.tensor("w", 21, [3], Wire.packed(5, [1, 2, 3]))) }?.code == .invalidModel)
    }

    @Test func sixBitTypesHaveOneElementPerNumber() throws {
        // 1, 2, 3, 63 and 5, six bits each from the low end.
        #expect(try bytes(Wire.tensor("w", 27, [5], Wire.packed(5, [1, 2, 3, 63, 5]))) == [0x81, 0x30, 0xFC, 0x05])
        #expect(try bytes(Wire.tensor("w", 28, [5], Wire.bytes(9, [0x81, 0x30, 0xFC, 0x05]))) == [0x81, 0x30, 0xFC, 0x05])
    }

    @Test func unusedBitsOfTheLastByteAreCleared() throws {
        #expect(try bytes(Wire.tensor("w", 21, [3], Wire.bytes(9, [0x21, 0xF3]))) == [0x21, 0x03])
        #expect(try bytes(Wire.tensor("w", 25, [1], Wire.bytes(9, [0xFF]))) == [0x03])
    }

    @Test func booleansBecomeZeroOrOne() throws {
        #expect(try bytes(Wire.tensor("w", 9, [3], Wire.bytes(9, [0, 255, 2]))) == [0, 1, 1])
        #expect(try bytes(Wire.tensor("w", 9, [2], Wire.packed(5, [7, 0]))) == [1, 0])
    }

    @Test func wideTypedFields() throws {
        #expect(try loadInitializer(Wire.tensor("w", 7, [2], Wire.packed(7, [Int.min, -1])))?.asTensor().array(Int64.self) == [.min, -1])
        #expect(try loadInitializer(Wire.tensor("w", 13, [1], Wire.packed(11, [-1])))?.asTensor().array(UInt64.self) == [.max])
        #expect(try loadInitializer(Wire.tensor("w", 12, [2], Wire.int(11, 4_000_000_000), Wire.int(11, 1)))?.asTensor().array(UInt32.self) == [4_000_000_000, 1])
        let doubles = Wire.bytes(10, Wire.little(2.5.bitPattern) + Wire.little((-1.0).bitPattern))
        #expect(try loadInitializer(Wire.tensor("w", 11, [2], doubles))?.asTensor().array(Double.self) == [2.5, -1])
        let unpacked = Wire.fixed64(10, 2.5.bitPattern) + Wire.fixed64(10, (-1.0).bitPattern)
        #expect(try loadInitializer(Wire.tensor("w", 11, [2], unpacked))?.asTensor().array(Double.self) == [2.5, -1])
    }

    @Test func complexNumbersAreTwoFloats() throws {
        #expect(try bytes(Wire.tensor("w", 14, [1], Wire.packed(4, [Float(1), 2]))) == Wire.little([1, 2]))
        let doubles = Wire.little(1.5.bitPattern) + Wire.little(2.5.bitPattern)
        #expect(try bytes(Wire.tensor("w", 15, [1], Wire.bytes(10, doubles))) == doubles)
        #expect(errorThrown { _ = try bytes(Wire.tensor("w", 14, [2], Wire.packed(4, [Float(1), 2]))) }?.code == .invalidModel)
    }

    @Test func floatDataPackedUnpackedAndMixed() throws {
        for data in [Wire.packed(4, [Float(1), 2, 3]), Wire.float(4, 1) + Wire.float(4, 2) + Wire.float(4, 3), Wire.float(4, 1) + Wire.packed(4, [Float(2), 3])] {
            #expect(try bytes(Wire.tensor("w", 1, [3], data)) == Wire.little([1, 2, 3]))
        }
        // Other fields between the elements.
        let interrupted = Wire.float(4, 1) + Wire.text(12, "a word") + Wire.float(4, 2)
        #expect(try bytes(Wire.tensor("w", 1, [2], interrupted)) == Wire.little([1, 2]))
    }

    @Test func strings() throws {
        let value = try loadInitializer(Wire.tensor("w", 8, [2, 2], Wire.text(6, "a"), Wire.text(6, ""), Wire.bytes(6, [0xFF, 0]), Wire.text(6, "é")))
        let strings = try #require(try value?.asStrings())
        #expect(strings.shape.dimensions == [2, 2])
        #expect(strings.elements == ["a", "", ByteString([0xFF, 0]), "é"])
        #expect(errorThrown { _ = try loadInitializer(Wire.tensor("w", 8, [2], Wire.text(6, "a"))) }?.code == .invalidModel)
        #expect(errorThrown { _ = try loadInitializer(Wire.tensor("w", 8, [1], Wire.bytes(9, [1]))) }?.code == .invalidModel)
    }

    @Test func emptyTensorsAndScalars() throws {
        #expect(try loadInitializer(Wire.tensor("w", 1, [0, 3]))?.asTensor().shape.dimensions == [0, 3])
        #expect(try loadInitializer(Wire.tensor("w", 1, [0, 1 << 62, 1 << 62]))?.asTensor().count == 0)
        #expect(try loadInitializer(Wire.tensor("w", 1, [], Wire.float(4, 7)))?.asTensor().array(Float.self) == [7])
        #expect(try loadInitializer(Wire.tensor("w", 8, [0]))?.asStrings().elements.isEmpty == true)
    }

    // MARK: Contradictions

    @Test(arguments: [
        ("no data", Wire.tensor("w", 1, [2])), ("a negative dimension", Wire.tensor("w", 1, [-1], Wire.float(4, 1))),
        ("two negative dimensions", Wire.tensor("w", 1, [-1, -1], Wire.float(4, 1))),
        ("a type without data of it", Wire.tensor("w", 0, [1], Wire.float(4, 1))), ("no type", Wire.packed(1, [1]) + Wire.text(8, "w") + Wire.float(4, 1)),
        ("data of another field", Wire.tensor("w", 7, [1], Wire.float(4, 1))),
        ("raw and typed data", Wire.tensor("w", 1, [1], Wire.float(4, 1), Wire.bytes(9, [0, 0, 0, 0]))),
        ("two typed fields", Wire.tensor("w", 1, [1], Wire.float(4, 1), Wire.int(5, 1))),
        ("no elements but data", Wire.tensor("w", 1, [0], Wire.bytes(9, [0, 0, 0, 0]))),
    ] as [(String, [UInt8])])
    func contradictionsAreRefused(what: String, tensor: [UInt8]) {
        let error = errorThrown { _ = try loadInitializer(tensor) }
        #expect(error?.code == .invalidModel, "\(what)")
        #expect(error?.message.contains("\"w\"") == true, "\(what)")
    }

    @Test(arguments: [99, -1, Int(Int32.max)])
    func unknownElementTypesAreRefused(type: Int) {
        #expect(errorThrown { _ = try loadInitializer(Wire.tensor("w", type, [1], Wire.float(4, 1))) }?.code == .unsupported)
    }

    @Test(arguments: [[1 << 40], [1 << 31, 1 << 31], [1 << 32, 1 << 32], [Int.max], [1 << 62, 4]])
    func enormousShapesAreRefused(dims: [Int]) {
        #expect(errorThrown { _ = try loadInitializer(Wire.tensor("w", 1, dims, Wire.float(4, 1))) } != nil)
    }

    @Test func ranksHaveALimit() throws {
        let ones = [Int](repeating: 1, count: TensorReader.maximumRank)
        #expect(try loadInitializer(Wire.tensor("w", 1, ones, Wire.float(4, 1)))?.asTensor().count == 1)
        #expect(errorThrown { _ = try loadInitializer(Wire.tensor("w", 1, ones + [1], Wire.float(4, 1))) }?.code == .unsupported)
    }

    @Test func segmentsAreRefused() {
        let error = errorThrown { _ = try loadInitializer(Wire.tensor("w", 1, [1], Wire.float(4, 1), Wire.message(3, Wire.int(1, 0), Wire.int(2, 1)))) }
        #expect(error?.code == .unsupported)
    }

    // MARK: Views

    @Test func largeTensorsAreViewsWhateverTheirAlignment() throws {
        let floats = (0..<40_000).map(Float.init)
        for padding in 0..<4 {
            let name = String(repeating: "n", count: padding + 1)
            for data in [Wire.bytes(9, Wire.little(floats)), Wire.packed(4, floats)] {
                let bytes = Wire.model(initializer: Wire.tensor(name, 1, [40_000], data), named: name)
                try bytes.withUnsafeBytes { bytes in
                    let tensor = try #require(try ModelLoader(budget: MemoryBudget(cap: 0)).load(borrowing: bytes).graph.initializers.values.first?.asTensor())
                    let start = UnsafeRawPointer(tensor.pointer)
                    #expect(start >= bytes.baseAddress! && start + 160_000 <= bytes.baseAddress! + bytes.count)
                    #expect(tensor.array(Float.self) == floats)
                }
            }
        }
    }

    @Test func smallTensorsAreAligned() throws {
        for padding in 0..<8 {
            let name = String(repeating: "n", count: padding + 1)
            let data = Wire.little(Int64(7)) + Wire.little(Int64(-7))
            let model = try load(Wire.model(initializer: Wire.tensor(name, 7, [2], Wire.bytes(9, data)), named: name))
            let tensor = try #require(try model.graph.initializers.values.first?.asTensor())
            #expect(UInt(bitPattern: tensor.pointer) % 8 == 0)
            #expect(tensor.array(Int64.self) == [7, -7])
        }
    }

    @Test func aModelKeepsItsBytesAliveThroughItsTensors() throws {
        final class Owner {
            let bytes: UnsafeMutableRawBufferPointer
            let released: () -> Void
            init(_ bytes: [UInt8], _ released: @escaping () -> Void) {
                self.bytes = .allocate(byteCount: bytes.count, alignment: 16)
                self.bytes.copyBytes(from: bytes)
                self.released = released
            }
            deinit {
                bytes.deallocate()
                released()
            }
        }
        var isReleased = false
        let floats = [Float](repeating: 3, count: 10_000)
        var owner: Owner? = Owner(Wire.model(initializer: Wire.tensor("w", 1, [10_000], Wire.bytes(9, Wire.little(floats))))) { isReleased = true }
        var model: Model? = try ModelLoader().load(borrowing: UnsafeRawBufferPointer(owner!.bytes), owner: owner)
        var tensor = try model?.graph.initializers.values.first?.asTensor()
        owner = nil
        model = nil
        #expect(!isReleased)
        #expect(tensor?.array(Float.self) == floats)
        tensor = nil
        #expect(isReleased)
    }

    // MARK: Sparse

    private func sparse(_ dims: [Int], _ values: [Float], _ indices: [Int], _ indexShape: [Int]? = nil, field: Int = 15) -> [UInt8] {
        Wire.message(
            field, Wire.bytes(1, Wire.tensor("w", 1, [values.count], Wire.packed(4, values))),
            Wire.bytes(2, Wire.tensor("", 7, indexShape ?? [indices.count], Wire.packed(7, indices))), Wire.packed(3, dims))
    }

    private func loadSparse(_ initializer: [UInt8], cap: Int? = nil) throws -> Tensor? {
        let bytes = Wire.model(graph: initializer, Wire.node("Identity", ["w"], ["y"]), Wire.message(12, Wire.text(1, "y")))
        return try load(bytes, ModelLoader(budget: MemoryBudget(cap: cap))).graph.initializers.values.first?.asTensor()
    }

    @Test func sparseInitializersBecomeDense() throws {
        #expect(try loadSparse(sparse([2, 3], [5, 7], [1, 5]))?.array(Float.self) == [0, 5, 0, 0, 0, 7])
        #expect(try loadSparse(sparse([2, 3], [5, 7], [0, 1, 1, 2], [2, 2]))?.array(Float.self) == [0, 5, 0, 0, 0, 7])
        #expect(try loadSparse(sparse([2, 0], [], []))?.count == 0)
    }

    @Test(arguments: [
        ("beyond the end", [6], nil), ("negative", [-1], nil), ("Int.max", [Int.max], nil), ("descending", [5, 1], nil),
        ("twice", [1, 1], nil), ("a coordinate beyond its axis", [0, 3], [1, 2]), ("too many coordinates", [0, 1, 2], [1, 3]),
        ("rank 3", [0], [1, 1, 1]),
    ] as [(String, [Int], [Int]?)])
    func sparseIndicesAreChecked(what: String, indices: [Int], shape: [Int]?) {
        let values = [Float](repeating: 1, count: shape?[0] ?? indices.count)
        #expect(errorThrown { _ = try loadSparse(sparse([2, 3], values, indices, shape)) }?.code == .invalidModel, "\(what)")
    }

    @Test func sparseTensorsDoNotUnfoldBeyondTheLimit() {
        #expect(errorThrown { _ = try loadSparse(sparse([1 << 20, 1 << 20], [1], [0])) }?.code == .memoryLimit)
        #expect(errorThrown { _ = try loadSparse(sparse([1000, 1000], [1], [0]), cap: 1 << 20) }?.code == .memoryLimit)
        #expect(errorThrown { _ = try loadSparse(sparse([-1, 2], [1], [0])) }?.code == .invalidModel)
    }
}
