import ApusCore
import ApusGraph

/// Runs its body once for each slice of its scan inputs, carrying state along; what the body gives besides is stacked.
///
/// Opset 8 has a batch axis before the sequence axis, lengths per batch element and no choice of axes.
struct ScanOperator: Operator {
    static let schemas = [
        Schema("Scan", since: [8, 9, 11, 16, 19, 21, 23, 24, 25], inputs: 1...Int.max, outputs: 1...Int.max)
    ]

    private let body: Graph
    private let bodyIndex: Int
    /// 1 where input 0 is the batch's sequence lengths.
    private let firstState: Int
    private let stateCount: Int
    private let scanInputCount: Int
    private let scanOutputCount: Int
    private let isBatched: Bool
    private let inputAxes: [Int]
    private let outputAxes: [Int]
    private let inputsReversed: [Bool]
    private let outputsReversed: [Bool]

    init(_ node: NodeReader) throws {
        isBatched = node.opset < 9
        firstState = isBatched ? 1 : 0
        body = try node.graph("body")
        bodyIndex = try subgraphIndex(body, in: node)
        scanInputCount = try node.int("num_scan_inputs")
        let available = max(0, node.inputCount - firstState)
        guard scanInputCount >= 1, scanInputCount <= available else {
            throw ApusError(.invalidModel, "num_scan_inputs must be from 1 to \(available), found \(scanInputCount)")
        }
        stateCount = available - scanInputCount
        guard body.inputs.count == available else {
            throw ApusError(.invalidModel, "the body must have \(available) inputs, found \(body.inputs.count)")
        }
        guard body.outputs.count == node.outputCount, node.outputCount >= stateCount else {
            throw ApusError(
                .invalidModel,
                "the body must have as many outputs as the node and at least \(stateCount), found \(body.outputs.count) and \(node.outputCount)")
        }
        scanOutputCount = node.outputCount - stateCount
        func list(_ name: String, _ count: Int) throws -> [Int] {
            guard let list = try node.optionalInts(name) else { return [Int](repeating: 0, count: count) }
            guard list.count == count else {
                throw ApusError(.invalidModel, "\(name) must have \(count) elements, found \(list.count)")
            }
            return list
        }
        func directions(_ name: String, _ count: Int) throws -> [Bool] {
            try list(name, count).map {
                guard $0 == 0 || $0 == 1 else { throw ApusError(.invalidModel, "\(name) must be 0 or 1, found \($0)") }
                return $0 == 1
            }
        }
        inputsReversed = try directions(isBatched ? "directions" : "scan_input_directions", scanInputCount)
        if isBatched {
            outputsReversed = [Bool](repeating: false, count: scanOutputCount)
            inputAxes = [Int](repeating: 0, count: scanInputCount)
            outputAxes = [Int](repeating: 0, count: scanOutputCount)
        } else {
            outputsReversed = try directions("scan_output_directions", scanOutputCount)
            inputAxes = try list("scan_input_axes", scanInputCount)
            outputAxes = try list("scan_output_axes", scanOutputCount)
        }
    }

    var isFoldable: Bool { false }

    // MARK: Inference

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        var batch = Dimension.unknown
        var length = Dimension.unknown
        func agree(_ known: inout Dimension, _ found: Dimension, _ what: String) throws {
            if let a = known.known, let b = found.known, a != b {
                throw ApusError(.shapeMismatch, "scan inputs must have one \(what), found \(a) and \(b)")
            }
            if known.known == nil { known = found == .unknown ? known : found }
        }
        if isBatched, context.has(0) {
            _ = try context.type(0, oneOf: [.int64])
            if let lengths = try context.dimensions(0, rank: 1...1) { try agree(&batch, lengths[0], "batch size") }
        }
        let state = try (0..<stateCount).map { index -> ValueType in
            let info = try context.input(firstState + index)
            guard isBatched else { return info.type }
            guard let dimensions = try context.dimensions(firstState + index, rank: 1...) else { return info.type.withoutShape }
            try agree(&batch, dimensions[0], "batch size")
            return .tensor(try context.type(firstState + index), PartialShape(Array(dimensions.dropFirst())))
        }
        let slices = try (0..<scanInputCount).map { index -> ValueInfo in
            let input = firstState + stateCount + index
            let type = try context.type(input)
            guard var dimensions = try context.dimensions(input, rank: (isBatched ? 2 : 1)...) else {
                return ValueInfo(type, .unknown)
            }
            if isBatched { try agree(&batch, dimensions.removeFirst(), "batch size") }
            let axis = try normalizedAxis(inputAxes[index], rank: dimensions.count, name: "scan_input_axes")
            try agree(&length, dimensions.remove(at: axis), "length along their scan axes")
            return ValueInfo(type, PartialShape(dimensions))
        }
        let inferred = try LoopBody(graph: body, leadingCount: 0, leadingOutputCount: 0)
            .infer(context, leading: [], state: state, trailing: slices)
        let states = try inferred.state.map { type -> ValueInfo in
            guard isBatched else { return ValueInfo(type) }
            guard case .tensor(let element, let shape) = type else {
                throw ApusError(.typeMismatch, "state must be tensors, found \(type)")
            }
            return ValueInfo(element, PartialShape(shape.dimensions.map { [batch] + $0 }))
        }
        let scans = try inferred.outputs[stateCount...].enumerated().map { index, info -> ValueInfo in
            guard case .tensor(let element, let shape) = info.type else {
                throw ApusError(.typeMismatch, "scan outputs must be tensors, found \(info.type)")
            }
            guard var dimensions = shape.dimensions else { return ValueInfo(element, .unknown) }
            let axis = try normalizedAxis(outputAxes[index], rank: dimensions.count + 1, name: "scan_output_axes")
            dimensions.insert(length, at: axis)
            return ValueInfo(element, PartialShape(isBatched ? [batch] + dimensions : dimensions))
        }
        return states + scans
    }

    // MARK: Execution

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let scan = self
        let expected = context.outputs
        return PreparedKernel("scan") { io in
            let state = try (0..<scan.stateCount).map { try io.value(scan.firstState + $0) }
            let inputs = try (0..<scan.scanInputCount).map { try io.value(scan.firstState + scan.stateCount + $0) }
            let outputs = try scan.isBatched
                ? scan.runBatch(io, state, inputs, expected)
                : scan.runSequence(io, state, inputs, length: try scan.length(inputs), expected.map(\.type))
            for (index, value) in outputs.enumerated() {
                try expected[index].type.checkAdmits(value.type, "output \(index)")
                try io.setOutput(index, value)
            }
        }
    }

    /// The common length of the scan inputs along their axes.
    private func length(_ inputs: [Value]) throws -> Int {
        let lengths = try inputs.enumerated().map { index, value -> Int in
            guard let shape = value.shape else {
                throw ApusError(.typeMismatch, "scan input \(index) must be a tensor, found \(value.type)")
            }
            return shape[try normalizedAxis(inputAxes[index], rank: shape.rank, name: "scan_input_axes")]
        }
        guard Set(lengths).count == 1, let length = lengths.first else {
            throw ApusError(.shapeMismatch, "scan inputs must have one length along their scan axes, found \(lengths)")
        }
        return length
    }

    /// One pass over `length` slices: final state, then stacked outputs. `expected` are the types of those.
    private func runSequence(
        _ io: NodeIO, _ start: [Value], _ inputs: [Value], length: Int, _ expected: [ValueType]
    ) throws -> [Value] {
        var state = start
        var stacks = (0..<scanOutputCount).map { ValueStack("scan output \($0)", budget: io.budget) }
        let axes = try inputs.enumerated().map { index, value in
            try normalizedAxis(inputAxes[index], rank: value.shape?.rank ?? 0, name: "scan_input_axes")
        }
        let lengths = inputs.enumerated().map { $1.shape?[axes[$0]] ?? 0 }
        for step in 0..<max(0, length) {
            try io.checkControl()
            let slices = try inputs.indices.map { index in
                // Only opset 8 has sequences shorter than the input; they are reversed within their length.
                let last = isBatched ? length - 1 : lengths[index] - 1
                return try slice(
                    inputs[index], axis: axes[index], index: inputsReversed[index] ? last - step : step, budget: io.budget)
            }
            var outputs = try io.runSubgraph(bodyIndex, state + slices)
            guard outputs.count == stateCount + scanOutputCount else {
                throw ApusError(.internal, "the body gave \(outputs.count) outputs, \(stateCount + scanOutputCount) expected")
            }
            for index in stacks.indices { try stacks[index].append(outputs[stateCount + index]) }
            outputs.removeLast(scanOutputCount)
            state = outputs
        }
        return try state + stacks.enumerated().map { index, stack in
            let type = expected[stateCount + index]
            return try stack.stacked(
                axis: outputAxes[index], reversed: outputsReversed[index], expected: try sliceType(type, axis: outputAxes[index]))
        }
    }

    /// The type of one slice of a stacked output, as far as known.
    private func sliceType(_ type: ValueType, axis: Int) throws -> ValueType {
        guard case .tensor(let element, let shape) = type, var dimensions = shape.dimensions, !dimensions.isEmpty else {
            // Nothing is known of the slices: make them of the least rank that has the axis.
            guard case .tensor(let element, _) = type else { return type }
            return .tensor(element, .ofRank(axis >= 0 ? axis : -axis - 1))
        }
        dimensions.remove(at: try normalizedAxis(axis, rank: dimensions.count))
        return .tensor(element, PartialShape(dimensions))
    }

    /// Opset 8: a pass for each batch element, its outputs filled up with zeros to the common length.
    private func runBatch(_ io: NodeIO, _ state: [Value], _ inputs: [Value], _ expected: [ValueInfo]) throws -> [Value] {
        let shapes = try inputs.enumerated().map { index, value -> Shape in
            guard let shape = value.shape, shape.rank >= 2 else {
                throw ApusError(.shapeMismatch, "scan input \(index) needs a batch and a sequence axis, found \(value.type)")
            }
            return shape
        }
        let (batch, longest) = (shapes[0][0], shapes[0][1])
        guard shapes.allSatisfy({ $0[0] == batch && $0[1] == longest }),
            state.allSatisfy({ ($0.shape?.rank ?? 0) >= 1 && $0.shape?[0] == batch })
        else {
            throw ApusError(.shapeMismatch, "state and scan inputs must have one batch size and one length")
        }
        var lengths = [Int](repeating: longest, count: io.has(0) ? 0 : batch)
        if io.has(0) { lengths = try io.view(0).integers() }
        guard lengths.count == batch, lengths.allSatisfy({ $0 >= 0 && $0 <= longest }) else {
            throw ApusError(.invalidValue, "sequence_lens must be \(batch) numbers from 0 to \(longest), found \(lengths.prefix(16))")
        }
        let elementTypes = expected.map { info -> ValueType in
            guard case .tensor(let type, let shape) = info.type else { return info.type }
            return .tensor(type, PartialShape(shape.dimensions.map { Array($0.dropFirst()) }))
        }
        var stacks = expected.indices.map { ValueStack("output \($0)", budget: io.budget) }
        for element in 0..<batch {
            try io.checkControl()
            let outputs = try runSequence(
                io, try state.map { try slice($0, axis: 0, index: element, budget: io.budget) },
                try inputs.map { try slice($0, axis: 0, index: element, budget: io.budget) },
                length: lengths[element], elementTypes)
            for (index, value) in outputs.enumerated() {
                try stacks[index].append(index < stateCount ? value : try padded(value, to: longest, budget: io.budget))
            }
        }
        return try zip(stacks, elementTypes).map { try $0.stacked(expected: $1) }
    }

    private func padded(_ value: Value, to length: Int, budget: MemoryBudget) throws -> Value {
        guard let shape = value.shape, shape.rank >= 1, shape[0] < length else { return value }
        let result = try Shape([length] + shape.dimensions.dropFirst())
        if case .strings(let tensor) = value {
            let padding = [ByteString](repeating: .empty, count: result.count - shape.count)
            return .strings(try StringTensor(shape: result, elements: tensor.elements + padding))
        }
        let tensor = try value.asTensor()
        let output = try Tensor.allocate(tensor.type, result, budget: budget)
        output.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: output.byteCount)
        output.pointer.copyMemory(from: tensor.pointer, byteCount: tensor.byteCount)
        return .tensor(output)
    }
}
