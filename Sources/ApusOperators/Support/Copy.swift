import ApusCore

extension PrepareContext {
    /// Size of input `index` where it is a dense tensor; nil where it is another kind of value.
    func denseByteCount(_ index: Int) throws -> Int? {
        guard let type = try input(index).type.elementType, type != .string else { return nil }
        return type.byteCount(try shape(index).count)
    }
}

/// Copies input 0 to output 0: what a view does where it cannot share memory.
func copyKernel(_ byteCount: Int) -> PreparedKernel {
    PreparedKernel("copy") { io in
        io.output(0).copyMemory(from: io.input(0), byteCount: byteCount)
    }
}
