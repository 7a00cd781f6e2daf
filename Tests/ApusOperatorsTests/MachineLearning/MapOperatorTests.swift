import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Operators of ai.onnx.ml that take maps, and what the others refuse.
@Suite struct MapOperatorTests {
    private static let domain = "ai.onnx.ml"

    private func evaluate(_ op: String, opset: Int = 1, _ attributes: [String: AttributeValue], _ inputs: [Value?]) throws -> Value {
        try #require(try Evaluator().evaluate(op, domain: Self.domain, opset: opset, attributes, inputs)[0])
    }

    private func map(_ keys: [Int64], _ values: [Float]) throws -> Value {
        .map(MapValue(keys: .integers(.int64, keys), values: .tensor(try Tensor(.float32, [values.count], values))))
    }

    private func strings(_ items: String...) throws -> Value {
        .strings(try StringTensor(shape: .vector(items.count), elements: items.map { ByteString($0) }))
    }

    @Test("DictVectorizer follows the vocabulary")
    func dictVectorizer() throws {
        let result = try evaluate("DictVectorizer", ["int64_vocabulary": .ints([4, 9, 2])], [try map([2, 7, 4], [1.5, 8, 2.5])])
        #expect(result.shape?.dimensions == [1, 3])
        #expect(try result.asTensor().array(Float.self) == [2.5, 0, 1.5])

        let texts = Value.map(MapValue(keys: .strings(["a", "b"]), values: try strings("x", "y")))
        let words = try evaluate("DictVectorizer", ["string_vocabulary": .strings(["b", "c"])], [texts])
        #expect(try words.asStrings().elements == ["y", ""])
        expectError(.typeMismatch) { _ = try evaluate("DictVectorizer", ["int64_vocabulary": .ints([1])], [texts]) }
        expectError(.invalidModel) { _ = try evaluate("DictVectorizer", [:], [texts]) }
    }

    @Test("CastMap makes a row of the values, dense or at the positions of their keys")
    func castMap() throws {
        let input = try map([3, 1, 0], [1.5, -2.25, 1e10])
        let sparse: [String: AttributeValue] = ["map_form": .string("SPARSE"), "max_map": .int(5)]
        #expect(try evaluate("CastMap", [:], [input]).asTensor().array(Float.self) == [1e10, -2.25, 1.5])
        #expect(try evaluate("CastMap", sparse, [input]).asTensor().array(Float.self) == [1e10, -2.25, 0, 1.5, 0])
        let integers = try evaluate("CastMap", ["cast_to": .string("TO_INT64")], [input])
        #expect(try integers.asTensor().integers() == [10_000_000_000, -2, 1])
        let texts = try evaluate("CastMap", sparse.merging(["cast_to": .string("TO_STRING")]) { $1 }, [input])
        #expect(try texts.asStrings().elements == ["10000000000.000000", "-2.250000", "0.f", "1.500000", "0.f"])

        let numbers = Value.map(MapValue(keys: .integers(.int64, [5, 2]), values: try strings("2.75", "-3")))
        #expect(try evaluate("CastMap", [:], [numbers]).asTensor().array(Float.self) == [-3, 2.75])
        #expect(try evaluate("CastMap", ["cast_to": .string("TO_INT64")], [numbers]).asTensor().integers() == [-3, 2])
        expectError(.invalidValue) { _ = try evaluate("CastMap", sparse, [try map([-1], [1])]) }
        let words = Value.map(MapValue(keys: .integers(.int64, [5]), values: try strings("five")))
        expectError(.invalidValue) { _ = try evaluate("CastMap", [:], [words]) }
    }

    @Test("LabelEncoder finds a NaN, as its bitwise comparison must")
    func labelOfNotANumber() throws {
        let attributes: [String: AttributeValue] = ["keys_floats": .floats([1, .nan]), "values_int64s": .ints([10, 20])]
        let input = try valueOf(.float32, [3], [Float.nan, 1, 2])
        #expect(try evaluate("LabelEncoder", opset: 2, attributes, [input]).asTensor().integers() == [20, 10, -1])
    }

    @Test("One linear function for two classes: the transform is that of both signs")
    func binarySoftmax() throws {
        let attributes: [String: AttributeValue] = [
            "coefficients": .floats([1]), "intercepts": .floats([0]), "classlabels_ints": .ints([5, 7]),
            "post_transform": .string("SOFTMAX"),
        ]
        let outputs = try Evaluator().evaluate(
            "LinearClassifier", domain: Self.domain, opset: 1, attributes, [try valueOf(.float32, [2, 1], [1, -1] as [Float])], outputs: 2)
        #expect(try outputs[0]?.asTensor().integers() == [7, 5])
        try expectClose(outputs[1], [2, 2], [0.119202922, 0.880797078, 0.880797078, 0.119202922])
    }

    @Test("Empty inputs give empty outputs")
    func empty() throws {
        let none = try valueOf(.float32, [0, 2], [Float]())
        #expect(try evaluate("LinearRegressor", ["coefficients": .floats([1, 2])], [none]).shape?.dimensions == [0, 1])
        #expect(try evaluate("Scaler", [:], [none]).shape?.dimensions == [0, 2])
        #expect(try evaluate("Normalizer", [:], [try valueOf(.float32, [2, 0], [Float]())]).shape?.dimensions == [2, 0])
        // However many rows there are without elements, it takes no time.
        let wide = Value.tensor(
            try Tensor(type: .float32, shape: try Shape([1 << 60, 0]), storage: try Tensor(.float32, [0], [Float]()).storage))
        #expect(try evaluate("Normalizer", [:], [wide]).shape?.dimensions == [1 << 60, 0])
        let matrices = Value.tensor(
            try Tensor(type: .float32, shape: try Shape([0, 1 << 40, 1 << 40]), storage: try Tensor(.float32, [0], [Float]()).storage))
        let inverse = try Evaluator().evaluate("Inverse", domain: "com.microsoft", opset: 1, [:], [matrices])
        #expect(inverse[0]?.shape?.count == 0)
        let picked = try evaluate("ArrayFeatureExtractor", [:], [none, try intTensor([1, 1, 0])])
        #expect(picked.shape?.dimensions == [0, 3])
    }

    @Test(
        "What does not fit together is refused",
        arguments: [
            ("LinearRegressor", ["coefficients": .floats([1, 2, 3])], .shapeMismatch),
            ("LinearRegressor", ["coefficients": .floats([1, 2]), "targets": .int(0)], .invalidModel),
            ("LinearRegressor", ["coefficients": .floats([1, 2]), "targets": .int(.min)], .invalidModel),
            ("LinearClassifier", ["coefficients": .floats([1, 2, 3, 4]), "intercepts": .floats([1, 2]), "classlabels_ints": .ints([1])], .invalidModel),
            ("SVMRegressor", ["coefficients": .floats([1, 2])], .invalidModel),
            ("SVMRegressor", ["coefficients": .floats([1, 2]), "rho": .floats([0]), "n_supports": .int(-1)], .invalidModel),
            ("SVMRegressor", ["coefficients": .floats([1]), "rho": .floats([0]), "n_supports": .int(1), "support_vectors": .floats([1, 2, 3])], .shapeMismatch),
            ("SVMClassifier", ["classlabels_ints": .ints([1, 2]), "vectors_per_class": .ints([1, -1])], .invalidModel),
            ("SVMClassifier", ["classlabels_ints": .ints([1, 2]), "vectors_per_class": .ints([.max, .max])], .invalidModel),
            ("Scaler", ["offset": .floats([1, 2, 3])], .shapeMismatch),
            ("Imputer", [:], .invalidModel),
            ("Imputer", ["imputed_value_int64s": .ints([1])], .typeMismatch),
            ("OneHotEncoder", ["cats_strings": .strings(["a"])], .typeMismatch),
            ("OneHotEncoder", ["cats_int64s": .ints([7]), "zeros": .int(0)], .invalidValue),
            ("FeatureVectorizer", ["inputdimensions": .ints([-1])], .invalidModel),
            ("LabelEncoder", ["classes_strings": .strings(["a"])], .typeMismatch),
            ("CategoryMapper", ["cats_int64s": .ints([1]), "cats_strings": .strings([])], .invalidModel),
            ("Normalizer", ["norm": .string("L3")], .invalidModel),
        ] as [(String, [String: AttributeValue], ApusError.Code)])
    func refuses(_ op: String, _ attributes: [String: AttributeValue], _ code: ApusError.Code) throws {
        let input = try valueOf(.float32, [1, 2], [1, 2] as [Float])
        expectError(code) { _ = try evaluate(op, attributes, [input]) }
    }

    @Test("Ensembles of the form of version 5 are checked: no cycles, no children that do not exist")
    func brokenEnsembles() throws {
        func attributes(_ changes: [String: AttributeValue]) throws -> [String: AttributeValue] {
            [
                "tree_roots": .ints([0]), "nodes_featureids": .ints([0, 1]),
                "nodes_modes": .tensor(.tensor(try Tensor(.uint8, [2], [0, 0] as [UInt8]))),
                "nodes_splits": .tensor(try valueOf(.float32, [2], [0, 1] as [Float])), "nodes_truenodeids": .ints([0, 1]),
                "nodes_trueleafs": .ints([1, 1]), "nodes_falsenodeids": .ints([1, 2]), "nodes_falseleafs": .ints([0, 1]),
                "leaf_targetids": .ints([0, 0, 0]), "leaf_weights": .tensor(try valueOf(.float32, [3], [1, 2, 3] as [Float])),
            ].merging(changes) { $1 }
        }
        let input = try valueOf(.float32, [3, 2], [-1, 0, 1, 0, 1, 5] as [Float])
        let result = try evaluate("TreeEnsemble", opset: 5, try attributes([:]), [input])
        #expect(try result.asTensor().array(Float.self) == [1, 2, 3])
        let broken: [[String: AttributeValue]] = [
            ["nodes_falsenodeids": .ints([1, 0]), "nodes_falseleafs": .ints([0, 0])], ["nodes_falsenodeids": .ints([1, 3])],
            ["nodes_falsenodeids": .ints([1, -1])], ["tree_roots": .ints([2])], ["tree_roots": .ints([])],
            ["leaf_targetids": .ints([0, 0, 1])], ["nodes_featureids": .ints([0, -1])], ["nodes_featureids": .ints([0])],
            ["nodes_modes": .tensor(.tensor(try Tensor(.uint8, [2], [0, 6] as [UInt8])))], ["aggregate_function": .int(4)],
            ["post_transform": .int(-1)], ["n_targets": .int(0)],
        ]
        for changes in broken {
            expectError(.invalidModel) { _ = try evaluate("TreeEnsemble", opset: 5, try attributes(changes), [input]) }
        }
    }
}
