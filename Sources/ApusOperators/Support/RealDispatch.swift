import ApusCore

/// As `ElementVisitor`, for floats of 16 bits and more: their numbers have the elementary functions.
protocol RealVisitor {
    associatedtype Output
    func visit<T: Element>(_: T.Type) throws -> Output where T.Number: Real
}

extension ElementType {
    /// Calls the visitor with the Swift type of this type: floats of 16 bits and more.
    func visitReal<Visitor: RealVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .float32: try visitor.visit(Float.self)
        case .float64: try visitor.visit(Double.self)
        case .float16: try visitor.visit(Half.self)
        case .bfloat16: try visitor.visit(BFloat16.self)
        default: throw unsupported("a float of 16 bits or more")
        }
    }
}

extension ThreadPool {
    /// Calls `body` for consecutive parts of 0 ..< count, at most `parts` of them, each with its number: for work whose
    /// scratch memory is laid out once for each part. What is done with one index must not depend on the part.
    func inParts(_ count: Int, _ parts: Int, _ body: (_ part: Int, _ range: Range<Int>) -> Void) {
        guard count > 0, parts > 0 else { return }
        let size = (count - 1) / min(parts, count) + 1
        parallel((count - 1) / size + 1) { part in
            body(part, part * size..<min(count, (part + 1) * size))
        }
    }
}
