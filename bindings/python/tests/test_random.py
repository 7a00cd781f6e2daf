"""Operators that draw at random: one seed gives the same numbers in every session, on every number of threads and every level."""
import numpy as np
import pytest
from onnx import TensorProto, helper

import apus

NODES = {
    "RandomNormal": ([], {"shape": [70, 1000], "mean": 2.0, "scale": 3.0}),
    "RandomUniform": ([], {"shape": [70, 1000], "low": -1.0, "high": 1.0}),
    "RandomNormalLike": (["x"], {}),
    "RandomUniformLike": (["x"], {}),
    "Bernoulli": (["x"], {}),
    "Multinomial": (["x"], {"sample_size": 300}),
    "Dropout": (["x", "ratio", "training"], {}),
}
X = np.random.default_rng(0).random((70, 1000), np.float32)


def draw(op, dtype=None, threads=0, cpu=None, **attributes):
    inputs, own = NODES[op]
    if dtype is not None:
        own = {**own, "dtype": dtype}
    kind = TensorProto.INT32 if op == "Multinomial" else dtype or TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **own, **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)] if inputs else [], [helper.make_tensor_value_info("y", kind, None)],
        [helper.make_tensor("ratio", TensorProto.FLOAT, [], [0.4]), helper.make_tensor("training", TensorProto.BOOL, [], [True])])
    options = apus.SessionOptions(intra_op_num_threads=threads)
    if cpu:
        options.cpu = cpu
    session = apus.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]).SerializeToString(), options)
    return session.run(None, {"x": X} if inputs else {})[0]


@pytest.mark.parametrize("op", NODES)
def test_a_seed_gives_the_same_numbers(op):
    attributes = {"seed": 7} if op == "Dropout" else {"seed": 7.25}
    first = draw(op, threads=1, **attributes)
    for threads in (1, 2, 5):
        for cpu in (None, "generic"):
            np.testing.assert_array_equal(draw(op, threads=threads, cpu=cpu, **attributes), first)
    other = {name: value + 1 for name, value in attributes.items()}
    assert (draw(op, **other) != first).any()


@pytest.mark.parametrize("op", NODES)
def test_without_a_seed_every_run_differs(op):
    assert (draw(op) != draw(op)).any()


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_types_share_their_numbers(op, dtype):
    """The same numbers, rounded to each type."""
    wide, narrow = draw(op, seed=3.0), draw(op, dtype, seed=3.0)
    tolerance = {TensorProto.FLOAT16: 2e-3, TensorProto.BFLOAT16: 2e-2, TensorProto.DOUBLE: 1e-6}[dtype]
    np.testing.assert_allclose(narrow.astype(np.float64), wide.astype(np.float64), rtol=tolerance, atol=tolerance)
