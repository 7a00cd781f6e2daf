import ApusCore
import ApusGraph

/// Makes one Gelu, exact or by tanh, of the several nodes that exporters write for it.
struct GeluFusion: RewritePass {
    let name = "GeluFusion"
    let rules: [Rule]

    private static let half = Pattern.scalar(0.5), one = Pattern.scalar(1)

    init() {
        let name = name
        let x = Pattern.any("x")
        func rule(_ pattern: Pattern, _ attributes: [Attribute]) -> Rule {
            Rule(pattern) { match, editor, context in
                let input = try match.value("x")
                guard context.isReal(input) else { return .refused("the input is no tensor of floats") }
                // A constant with more axes than the input would have given it some.
                guard let rank = context.dimensions(input)?.count, let last = match.indices.first,
                    context.dimensions(editor.graph.nodes[last].outputs.first ?? nil)?.count == rank
                else { return .refused("the rank of the input is not known, or grows") }
                match.replace(with: Node("Gelu", opset: 20, attributes: attributes, inputs: [input], outputs: []), by: name, editor)
                return .applied
            }
        }
        let root = 2.0.squareRoot()
        let scaled: [Pattern] = [.op("Div", x, .scalar(root)), .op("Mul", x, .scalar(1 / root))]
        let erf = scaled.map { Pattern.op("Add", .op("Erf", $0), Self.one) }
        let exact = erf.flatMap { sum -> [Pattern] in
            [
                .op("Mul", .op("Mul", sum, Self.half), x), .op("Mul", .op("Mul", sum, x, as: "outer"), Self.half),
                .op("Mul", .op("Mul", x, Self.half), sum),
            ]
        }
        // √(2/π) (x + 0.044715 x³), the cube in either form.
        let cubes: [Pattern] = [
            .op("Pow", x, .scalar(3)), .op("Mul", .op("Mul", x, x, as: "square"), x), .op("Mul", x, .op("Pow", x, .scalar(2))),
        ]
        let arguments = cubes.flatMap { cube -> [Pattern] in
            let sum = Pattern.op("Add", .op("Mul", cube, .scalar(0.044715), as: "term"), x, as: "sum")
            return [.op("Mul", sum, .scalar((2 / Double.pi).squareRoot()), as: "argument")]
        } + [
            // √(2/π) x (1 + 0.044715 x²)
            .op("Mul", .op("Mul", x, .scalar((2 / Double.pi).squareRoot()), as: "scaled"),
                .op("Add", .op("Mul", .op("Mul", x, x, as: "square"), .scalar(0.044715), as: "term"), Self.one, as: "sum"), as: "argument")
        ]
        let byTanh = arguments.flatMap { argument -> [Pattern] in
            let sum = Pattern.op("Add", .op("Tanh", argument), Self.one, as: "onePlus")
            return [
                .op("Mul", sum, .op("Mul", x, Self.half, as: "halved"), as: "last"),
                .op("Mul", .op("Mul", sum, Self.half, as: "halved"), x, as: "last"),
                .op("Mul", .op("Mul", sum, x, as: "outer"), Self.half, as: "last"),
            ]
        }
        rules = exact.map { rule($0, []) } + byTanh.map { rule($0, [Attribute("approximate", .string("tanh"))]) }
    }
}
