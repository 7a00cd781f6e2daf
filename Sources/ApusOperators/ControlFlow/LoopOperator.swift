import ApusCore
import ApusGraph

/// Runs its body again and again: until a trip count is reached or the condition the body computes is false.
///
/// Inputs: trip count (optional), condition (optional), state. The body takes iteration number, condition and state and
/// gives condition, state and scan outputs; the latter are stacked along a new first axis.
struct LoopOperator: Operator {
    static let schemas = [
        Schema("Loop", since: [1, 11, 13, 16, 19, 21, 23, 24, 25], inputs: 0...Int.max, outputs: 1...Int.max)
    ]

    private let body: Graph
    private let bodyIndex: Int
    private let stateCount: Int
    private let scanCount: Int
    /// Whether the body declares its iteration number and condition as vectors of one element.
    private let leadingShapes: [Shape]

    init(_ node: NodeReader) throws {
        body = try node.graph("body")
        bodyIndex = try subgraphIndex(body, in: node)
        stateCount = max(0, node.inputCount - 2)
        guard body.inputs.count == stateCount + 2 else {
            throw ApusError(
                .invalidModel,
                "the body must have \(stateCount + 2) inputs (iteration, condition and \(stateCount) values of state), found \(body.inputs.count)")
        }
        guard body.outputs.count == node.outputCount + 1, node.outputCount >= stateCount else {
            throw ApusError(
                .invalidModel,
                "the body must have one output more than the node and at least \(stateCount + 1), found \(body.outputs.count) and \(node.outputCount)")
        }
        scanCount = node.outputCount - stateCount
        leadingShapes = body.inputs[0..<2].map { [body] input in
            body.values[input.index].type?.shape?.rank == 1 ? .vector(1) : .scalar
        }
    }

    var isFoldable: Bool { false }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        if context.has(0) {
            _ = try context.type(0, oneOf: [.int64])
            if let shape = try context.input(0).concreteShape(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "the trip count must have one element, found shape \(shape)")
            }
        }
        if context.has(1) { try checkCondition(context, 1) }
        let state = try (0..<stateCount).map { try context.input($0 + 2).type }
        let leading = [ValueInfo(.int64, leadingShapes[0]), ValueInfo(.bool, leadingShapes[1])]
        let inferred = try LoopBody(graph: body, leadingCount: 2, leadingOutputCount: 1)
            .infer(context, leading: leading, state: state, trailing: [])
        let condition = inferred.outputs[0].type
        guard condition.elementType == .bool else {
            throw ApusError(.typeMismatch, "the body's condition must be a bool tensor, found \(condition)")
        }
        let trips = try context.has(0) ? context.integers(0)?.first : nil
        let scans = try inferred.outputs[(1 + stateCount)...].map { info in
            guard case .tensor(let type, let shape) = info.type else {
                throw ApusError(.typeMismatch, "scan outputs must be tensors, found \(info.type)")
            }
            let count = trips.map { $0 <= 0 } == true ? Dimension.known(0) : .unknown
            return ValueInfo(type, PartialShape(shape.dimensions.map { [count] + $0 }))
        }
        let states = inferred.state.enumerated().map { index, type in
            // An optional that the body opened is none any more.
            if case .optional(let element) = type, inferred.outputs[1 + index].type.kind != .optional { return ValueInfo(element) }
            return ValueInfo(type)
        }
        return states + scans
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let (bodyIndex, stateCount, scanCount, leadingShapes) = (bodyIndex, stateCount, scanCount, leadingShapes)
        let takesOptional = body.inputs[2...].map { body.values[$0.index].type?.kind == .optional }
        let expected = context.outputs
        let scanTypes = expected[stateCount...].map { info -> ValueType in
            guard case .tensor(let type, let shape) = info.type else { return info.type }
            return .tensor(type, PartialShape(shape.dimensions.map { Array($0.dropFirst()) }))
        }
        return PreparedKernel("loop") { io in
            let trips = io.has(0) ? try LoopOperator.tripCount(io) : Int.max
            var goesOn = io.has(1) ? try io.flag(1, "the condition") : true
            var state = try (0..<stateCount).map { try io.value($0 + 2) }
            var stacks = (0..<scanCount).map { ValueStack("scan output \($0)", budget: io.budget) }
            var iteration = 0
            while goesOn, iteration < trips {
                try io.checkControl()
                let number = Value.tensor(try Tensor(.int64, leadingShapes[0].dimensions, [Int64(iteration)], budget: io.budget))
                let condition = Value.tensor(try Tensor(.bool, leadingShapes[1].dimensions, [UInt8(1)], budget: io.budget))
                var outputs = try io.runSubgraph(bodyIndex, [number, condition] + state)
                guard outputs.count == 1 + stateCount + scanCount else {
                    throw ApusError(.internal, "the body gave \(outputs.count) outputs, \(1 + stateCount + scanCount) expected")
                }
                goesOn = try flag(outputs[0], "the body's condition")
                for index in stacks.indices { try stacks[index].append(outputs[1 + stateCount + index]) }
                outputs.removeLast(scanCount)
                outputs.removeFirst()
                state = zip(takesOptional, outputs).map { takesOptional, value in
                    // A body that opens an optional takes one in the next iteration, too.
                    guard takesOptional, value.type.kind != .optional else { return value }
                    return .optional(OptionalValue(elementType: value.type, element: value))
                }
                iteration += 1
            }
            for (index, last) in state.enumerated() {
                var value = last
                if case .optional(let optional) = last, expected[index].type.kind != .optional {
                    guard let element = optional.element else {
                        throw ApusError(.invalidValue, "state \(index) is an empty optional, and no iteration fills it")
                    }
                    value = element
                }
                try expected[index].type.checkAdmits(value.type, "state \(index)")
                try io.setOutput(index, value)
            }
            for (index, stack) in stacks.enumerated() {
                let value = try stack.stacked(expected: scanTypes[index])
                try expected[stateCount + index].type.checkAdmits(value.type, "scan output \(index)")
                try io.setOutput(stateCount + index, value)
            }
        }
    }

    private static func tripCount(_ io: NodeIO) throws -> Int {
        let tensor = try io.view(0)
        guard tensor.count == 1 else {
            throw ApusError(.shapeMismatch, "the trip count must have one element, found shape \(tensor.shape)")
        }
        return try tensor.integers()[0]
    }
}
