import ApusCore

/// A tensor value of any element type; sub-byte elements are given packed.
func valueOf<T: BitwiseCopyable>(_ type: ElementType, _ dimensions: [Int], _ elements: [T]) throws -> Value {
    if type.bitWidth >= 8 { return .tensor(try Tensor(type, dimensions, elements)) }
    let bytes = try Tensor(.uint8, [elements.count], elements)
    return .tensor(try Tensor(type: type, shape: try Shape(dimensions), storage: bytes.storage))
}
