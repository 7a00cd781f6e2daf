import ApusCore
import CApusKernels
import Testing

/// A tensor value of any element type; sub-byte elements are given packed.
func valueOf<T: BitwiseCopyable>(_ type: ElementType, _ dimensions: [Int], _ elements: [T]) throws -> Value {
    if type.bitWidth >= 8 { return .tensor(try Tensor(type, dimensions, elements)) }
    let bytes = try Tensor(.uint8, [elements.count], elements)
    return .tensor(try Tensor(type: type, shape: try Shape(dimensions), storage: bytes.storage))
}

/// The levels that the cap `name` allows. Ends the test case, reported as skipped, where this CPU lacks that level itself.
func levelsOrSkip(_ name: String) throws -> UInt32 {
    let levels = CPUCap.levels(try CPUCap(name: name, source: "test")), isa = apus_isa_from_name(name)
    if isa < 0 || levels & (1 << UInt32(isa)) == 0 { try Test.cancel("\(name) does not run on this CPU") }
    return levels
}
