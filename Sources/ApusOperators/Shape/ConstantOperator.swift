import ApusCore

/// A value written in the model, in any of the forms that ONNX has for it.
struct ConstantOperator: Operator {
    static let schemas = [Schema("Constant", since: [1, 9, 11, 12, 13, 19, 21, 23, 24, 25], inputs: 0...0)]

    private let value: Value

    init(_ node: NodeReader) throws {
        var forms: [Value] = []
        if let tensor = try node.optionalTensor("value") { forms.append(tensor) }
        if node.opset >= 11, let sparse = try node.optionalSparse("sparse_value") {
            if case .sparse(let stored) = sparse { forms.append(try stored.densified(budget: .shared)) } else { forms.append(sparse) }
        }
        if node.opset >= 12 {
            if let float = try node.optionalFloat("value_float") { forms.append(.tensor(try .float32(float))) }
            if let floats = try node.optionalFloats("value_floats") {
                forms.append(.tensor(try Tensor(.float32, [floats.count], floats)))
            }
            if let int = try node.optionalInt("value_int") { forms.append(.tensor(try Tensor(.int64, [], [Int64(int)]))) }
            if let ints = try node.optionalInts("value_ints") { forms.append(.tensor(try .int64(ints))) }
            if let string = try node.optionalBytes("value_string") {
                forms.append(.strings(try StringTensor(shape: .scalar, elements: [string])))
            }
            if let strings = try node.optionalStrings("value_strings") {
                forms.append(.strings(try StringTensor(shape: .vector(strings.count), elements: strings)))
            }
        }
        guard forms.count == 1 else {
            throw ApusError(.invalidModel, "exactly one attribute must give the value of Constant, found \(forms.count)")
        }
        value = forms[0]
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        [ValueInfo(constant: value)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let value = value
        return PreparedKernel("constant") { io in try io.setOutput(0, value) }
    }
}

/// A tensor of a given shape of which all elements are the same.
struct ConstantOfShapeOperator: Operator {
    static let schemas = [Schema("ConstantOfShape", since: [9, 20, 21, 23, 24, 25], inputs: 1...1)]

    private let value: Tensor

    init(_ node: NodeReader) throws {
        guard let given = try node.optionalTensor("value") else {
            value = try Tensor.float32(0)
            return
        }
        value = try given.asTensor()
        guard value.count == 1 else {
            throw ApusError(.invalidModel, "attribute \"value\" must have one element, found shape \(value.shape)")
        }
    }

    var parameterInputs: [Int] { [0] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard let dimensions = try context.dimensionsParameter(0) else { return [ValueInfo(value.type, .unknown)] }
        for dimension in dimensions {
            if let size = dimension.known, size < 0 { throw ApusError(.shapeMismatch, "the shape has the negative dimension \(size)") }
        }
        var info = ValueInfo(value.type, PartialShape(dimensions))
        if dimensions.count <= 1, value.type == .int64 || value.type == .int32,
            let count = dimensions.first.map(\.known) ?? 1, count <= InferenceContext.mostElements
        {
            info.elements = [Dimension](repeating: .known(try value.integers()[0]), count: count)
        }
        return [info]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.outputShape(0).count
        let value = value
        let width = context.movedWidth(value.type)
        // One element of a packed type is the low bits of its byte, as it is when spread.
        return try context.movement("fill", value.type, inputs: []) { access in
            let target = access.output(0)
            access.io.pool.inChunks(count, of: 1 << 18) { range in
                fill(target + range.lowerBound * width, count: range.count, width: width, with: value.pointer)
            }
        }
    }
}
