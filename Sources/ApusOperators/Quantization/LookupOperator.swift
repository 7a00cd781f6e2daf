import ApusCore
import ApusGraph
import CApusKernels

/// A function of 8-bit elements by table: inputs X (uint8 or int8) and 256 results (uint8 or int8), of which the element's bit
/// pattern chooses one. The optimiser makes it.
struct LookupOperator: Operator {
    static let schemas = [Schema("Lookup", domain: "apus", since: [1], inputs: 2...2)]

    init(_ node: NodeReader) throws {}

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.uint8, .int8])
        let type = try context.type(1, oneOf: [.uint8, .int8])
        if let count = try context.shape(1).concrete()?.count, count != 256 {
            throw ApusError(.shapeMismatch, "the table has \(count) elements, 256 expected")
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.shape(0).count
        guard let kernels = apus_quantize_select(context.levels) else { throw ApusError(.internal, "there is no lookup kernel") }
        let lookup = kernels.pointee.lookup
        return PreparedKernel("lookup_" + String(cString: kernels.pointee.name)) { io in
            let source = io.input(0, as: UInt8.self), target = io.output(0, as: UInt8.self), table = io.input(1, as: UInt8.self)
            io.pool.inChunks(count) { range in
                lookup?(range.count, source + range.lowerBound, table, target + range.lowerBound)
            }
        }
    }
}
