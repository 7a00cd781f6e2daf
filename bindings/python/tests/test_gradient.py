"""ai.onnx.preview.training.Gradient against differences of the function itself, in double."""
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import apus  # noqa: E402

RNG = np.random.default_rng(3)
TRAINING = "ai.onnx.preview.training"


def make(nodes, inputs, outputs, initializers=(), opset=17, kind=TensorProto.DOUBLE):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, None) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs], list(initializers))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(TRAINING, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def run(raw, feeds, level=99):
    return apus.InferenceSession(raw, apus.SessionOptions(graph_optimization_level=level)).run(None, feeds)


def gradient(xs, y, outputs, zs=(), inputs=None):
    lists = dict(xs=list(xs), **({"zs": list(zs)} if zs else {}))
    return helper.make_node("Gradient", list(inputs or [*xs, *zs]), outputs, domain=TRAINING, y=y, **lists)


def constant(name, values, kind=np.int64):
    return numpy_helper.from_array(np.array(values, kind), name)


def positive(*shape):
    return RNG.random(shape) + 0.5


def normal(*shape):
    return RNG.standard_normal(shape)


A, B, M, N = normal(2, 3), normal(2, 3), normal(3, 4), normal(4, 3)
# Nodes from a, b and c to y, the values of a, b and c, initializers.
CASES = {
    "add": ([("Add", "a b", "y", {})], [A, normal(3)]),
    "subtract": ([("Sub", "a b", "y", {})], [normal(1, 3), normal(2, 1)]),
    "multiply": ([("Mul", "a b", "y", {})], [A, normal(2, 1)]),
    "multiply by itself": ([("Mul", "a a", "y", {})], [A]),
    "divide": ([("Div", "a b", "y", {})], [A, positive(3)]),
    "power": ([("Pow", "a b", "y", {})], [positive(2, 3), normal(3)]),
    "sum and mean": ([("Sum", "a b c", "s", {}), ("Mean", "s a", "y", {})], [A, normal(3), normal(2, 1)]),
    "greatest and least": ([("Max", "a b", "s", {}), ("Min", "s c", "y", {})], [A, B, normal(2, 3)]),
    "limits": ([("Clip", "a lo hi", "y", {})], [A], [constant("lo", -0.5, float), constant("hi", 0.7, float)]),
    "choice": ([("Less", "a b", "w", {}), ("Where", "w a c", "y", {})], [A, B, normal(2, 1)]),
    "product": ([("MatMul", "a b", "y", {})], [A, M]),
    "products of batches": ([("MatMul", "a b", "y", {})], [normal(2, 2, 3), M]),
    "gemm": ([("Gemm", "a b c", "y", dict(alpha=0.5, beta=2.0))], [A, M, normal(4)]),
    "gemm, transposed": ([("Gemm", "a b c", "y", dict(transA=1, transB=1, alpha=2.0))], [normal(3, 2), normal(4, 3), normal(2, 1)]),
    "gemm, A transposed": ([("Gemm", "a b", "y", dict(transA=1))], [normal(3, 2), normal(3, 4)]),
    "gemm, B transposed": ([("Gemm", "a b", "y", dict(transB=1))], [normal(2, 3), normal(4, 3)]),
    "transpose": ([("Transpose", "a", "t", dict(perm=[2, 0, 1])), ("Transpose", "t", "s", {}), ("Mul", "s s", "y", {})], [normal(2, 3, 4)]),
    "shapes": ([("Reshape", "a to", "r", {}), ("Unsqueeze", "r one", "u", {}), ("Squeeze", "u one", "q", {}), ("Flatten", "q", "f", {}),
                ("Exp", "f", "y", {})], [A], [constant("to", [3, -1]), constant("one", [1])]),
    "expand": ([("Expand", "a to", "e", {}), ("Mul", "e e", "y", {})], [normal(3, 1)], [constant("to", [2, 3, 4])]),
    "join": ([("Concat", "a b", "j", dict(axis=-1)), ("Mul", "j j", "y", {})], [A, normal(2, 5)]),
    "sums": ([("ReduceSum", "a axes", "s", dict(keepdims=0)), ("Mul", "s s", "y", {})], [normal(2, 3, 4)], [constant("axes", [1])]),
    "means": ([("ReduceMean", "a", "m", dict(axes=[0, 2], keepdims=0)), ("Exp", "m", "y", {})], [normal(2, 3, 4)]),
    "extremes": ([("ReduceMax", "a", "m", dict(axes=[1], keepdims=1)), ("ReduceMin", "a", "n", dict(axes=[1])), ("Mul", "m n", "y", {})],
                 [normal(2, 5)]),
    "softmax": ([("Softmax", "a", "s", dict(axis=-2)), ("Mul", "s b", "y", {})], [A, B]),
    "logarithm of a softmax": ([("LogSoftmax", "a", "s", {}), ("Mul", "s b", "y", {})], [A, B]),
    "dropout": ([("Dropout", "a", "d", {}), ("Identity", "d", "i", {}), ("Cast", "i", "y", dict(to=TensorProto.DOUBLE))], [A]),
    "network": ([("Gemm", "a b", "h", {}), ("Tanh", "h", "t", {}), ("MatMul", "t c", "o", {}), ("Softmax", "o", "y", {})], [A, M, N]),
}
for function in ("Neg Exp Log Sqrt Reciprocal Abs Sin Cos Tan Tanh Sigmoid Relu LeakyRelu Softplus Erf").split():
    CASES[function] = ([(function, "a", "y", {})], [positive(2, 3) if function in ("Log", "Sqrt", "Reciprocal") else A])


def parts(name):
    nodes, values, *rest = CASES[name]
    made = [helper.make_node(op, inputs.split(), [output], **attributes) for op, inputs, output, attributes in nodes]
    return made, dict(zip("abc", values)), rest[0] if rest else []


@pytest.mark.parametrize("level", [0, 99])
@pytest.mark.parametrize("name", CASES)
def test_as_differences(name, level):
    nodes, values, initializers = parts(name)
    names = list(values)
    forward = make(nodes, names, ["y"], initializers)
    session = apus.InferenceSession(forward)
    raw = make([*nodes, gradient(names, "y", [f"d{n}" for n in names])], names, [f"d{n}" for n in names], initializers)
    got = run(raw, values, level)
    for key, derivative in zip(names, got):
        x = values[key]
        want = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = x.copy()
                moved[index] += step
                sides.append(session.run(None, {**values, key: moved})[0].sum())
            want[index] = (sides[0] - sides[1]) / 2e-6
        assert derivative.shape == x.shape
        np.testing.assert_allclose(derivative, want, rtol=2e-6, atol=2e-6)


def test_second_derivatives():
    """Of a cube, and the Gradient node comes before what it differentiates."""
    nodes = [gradient(["a"], "da", ["dda"]), gradient(["a"], "y", ["da"]), helper.make_node("Mul", ["s", "a"], ["y"]),
             helper.make_node("Mul", ["a", "a"], ["s"])]
    a = normal(5)
    # A model's nodes are sorted, but for what Gradient names.
    da, dda = run(make([nodes[3], nodes[2], nodes[1], nodes[0]], ["a"], ["da", "dda"]), {"a": a})
    np.testing.assert_allclose(da, 3 * a**2)
    np.testing.assert_allclose(dda, 6 * a)
    da, = run(make([nodes[1], nodes[3], nodes[2]], ["a"], ["da"]), {"a": a})
    np.testing.assert_allclose(da, 3 * a**2)


def test_other_values_than_the_named_ones():
    nodes = [helper.make_node("Exp", ["z"], ["e"]), helper.make_node("Mul", ["a", "e"], ["m"]), helper.make_node("Mul", ["m", "a"], ["y"]),
             gradient(["a"], "y", ["da"], zs=["z"], inputs=["b", "c"])]
    values = dict(a=normal(3), z=normal(3), b=normal(3), c=normal(3))
    y, da = run(make(nodes, list(values), ["y", "da"]), values)
    np.testing.assert_allclose(y, values["a"] ** 2 * np.exp(values["z"]))
    np.testing.assert_allclose(da, 2 * values["b"] * np.exp(values["c"]))


def test_with_regard_to_an_intermediate_tensor():
    nodes = [helper.make_node("Exp", ["a"], ["h"]), helper.make_node("Mul", ["h", "b"], ["y"]), gradient(["h", "b"], "y", ["dh", "db"])]
    a, b = normal(3), normal(3)
    dh, db = run(make(nodes, ["a", "b"], ["dh", "db"]), dict(a=a, b=b))
    np.testing.assert_allclose(dh, b)
    np.testing.assert_allclose(db, np.exp(a))


def test_float_and_half():
    for kind, dtype, tolerance in ((TensorProto.FLOAT, np.float32, 1e-5), (TensorProto.FLOAT16, np.float16, 1e-2)):
        nodes = [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Sigmoid", ["m"], ["y"]), gradient(["a", "b"], "y", ["da", "db"])]
        a, b = A.astype(dtype), M.astype(dtype)
        da, db = run(make(nodes, ["a", "b"], ["da", "db"], kind=kind), dict(a=a, b=b))
        s = 1 / (1 + np.exp(-(A @ M)))
        np.testing.assert_allclose(da, (s * (1 - s)) @ M.T, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(db, A.T @ (s * (1 - s)), rtol=tolerance, atol=tolerance)
        assert da.dtype == dtype


@pytest.mark.parametrize("node, message", [
    (gradient(["a"], "nowhere", ["d"]), "no tensor of the graph"),
    (gradient(["q"], "y", ["d"], inputs=["a"]), "no tensor of the graph"),
    (gradient(["a"], "b", ["d"]), "does not depend"),
    (gradient(["a"], "y", ["d"], inputs=["a", "b"]), "has 2 inputs"),
    (gradient(["a"], "k", ["d"]), "derivative of CumSum"),
    (helper.make_node("Gradient", ["a"], ["d"], domain=TRAINING, xs=["a"]), "\"y\""),
])
def test_errors(node, message):
    nodes = [helper.make_node("Mul", ["a", "b"], ["y"]), helper.make_node("CumSum", ["y", "axis"], ["k"]), node]
    with pytest.raises(apus.ApusError, match=message):
        apus.InferenceSession(make(nodes, ["a", "b"], ["d"], [constant("axis", 0)]))
