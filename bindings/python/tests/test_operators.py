"""Operators that a Python program brings along."""
import gc
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import apus
from apus import operators


def model(nodes, inputs, outputs, version=1):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def scaled(**attributes):
    """x -> Relu -> my.domain.Scaled -> Neg -> y"""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Scaled", ["r"], ["s"], domain="my.domain", name="it", **attributes),
        helper.make_node("Neg", ["s"], ["y"])]
    return model(nodes, [floats("x", "n", 3)], [floats("y", "n", 3)])


def session(raw, infer, compute, name="Scaled", since=1, **settings):
    options = apus.SessionOptions(**settings)
    options.register_operator("my.domain", name, since, infer, compute)
    return apus.InferenceSession(raw, options)


X = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)


@pytest.mark.parametrize("level", [0, 99])
def test_elementwise_operator_between_others(level):
    seen = []

    def compute(node, x):
        seen.append((node.domain, node.op_type, node.name, node.opset, node.attributes))
        return x * np.float32(node.attributes["factor"])

    s = session(scaled(factor=2.5), None, compute, graph_optimization_level=level)
    for batch in (X, np.tile(X, (4, 1)), X[:0]):
        np.testing.assert_array_equal(s.run(None, {"x": batch})[0], -(np.maximum(batch, 0) * np.float32(2.5)))
    assert seen[0] == ("my.domain", "Scaled", "it", 1, {"factor": 2.5})


def test_attributes_of_every_kind():
    given = dict(f=1.5, i=-3, s="text", t=onnx.numpy_helper.from_array(np.arange(3)), fs=[1.0, 2.0], ns=[4, 5], ss=["a", "b"])
    found = {}

    def compute(node, x):
        found.update(node.attributes)
        return x

    session(scaled(**given), None, compute).run(None, {"x": X})
    tensor = found.pop("t")
    np.testing.assert_array_equal(tensor, np.arange(3))
    assert found == dict(f=1.5, i=-3, s="text", fs=[1.0, 2.0], ns=[4, 5], ss=["a", "b"])


def test_shapes_types_several_outputs_and_absent_inputs():
    types = []

    def infer(node, inputs):
        types.append(inputs)
        return [apus.ValueType(np.float64, [inputs[0].shape[0], 1]), (np.int64, [None])]

    def compute(node, x, absent, y):
        assert absent is None
        return x.sum(1, keepdims=True).astype(np.float64) + y, np.flatnonzero(x)

    node = helper.make_node("Both", ["x", "", "y"], ["s", "where"], domain="my.domain")
    outputs = [helper.make_tensor_value_info("s", TensorProto.DOUBLE, ["n", 1]), helper.make_tensor_value_info("where", TensorProto.INT64, ["k"])]
    s = session(model([node], [floats("x", "n", 3), floats("y")], outputs), infer, compute, name="Both")
    total, where = s.run(None, {"x": X * (X > 0), "y": np.array(10, np.float32)})
    np.testing.assert_array_equal(total, [[15], [20]])
    np.testing.assert_array_equal(where, [1, 2, 3, 5])
    assert types[0][0].dtype == np.float32 and types[0][0].shape == ["n", 3] and types[0][1] is None and types[0][2].shape == []
    assert types[-1][0].shape == [2, 3]
    assert s.get_outputs()[0].type == "tensor(double)"


def test_strings_and_sequences():
    node = helper.make_node("Words", ["x"], ["y"], domain="my.domain")
    text = helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])
    s = session(model([node], [floats("x", "n")], [text]), lambda node, i: (np.dtype(object), i[0].shape),
                lambda node, x: np.array([str(int(v)) for v in x], object), name="Words")
    assert s.run(None, {"x": np.array([1, 22], np.float32)})[0].tolist() == ["1", "22"]

    sequence = helper.make_tensor_sequence_value_info
    node = helper.make_node("Reverse", ["x"], ["y"], domain="my.domain")
    s = session(model([node], [sequence("x", TensorProto.FLOAT, None)], [sequence("y", TensorProto.FLOAT, None)]), None,
                lambda node, items: items[::-1], name="Reverse")
    got = s.run(None, {"x": [np.zeros(2, np.float32), np.ones(3, np.float32)]})[0]
    assert [x.tolist() for x in got] == [[1, 1, 1], [0, 0]]


def test_versions_choose_the_newest_that_is_not_too_new():
    options = apus.SessionOptions()
    for since, factor in ((1, 10), (3, 30), (5, 50)):
        options.register_operator("my.domain", "Times", since, None, lambda node, x, factor=factor: x * np.float32(factor))
    node = helper.make_node("Times", ["x"], ["y"], domain="my.domain")
    for version, factor in ((1, 10), (2, 10), (4, 30), (9, 50)):
        s = apus.InferenceSession(model([node], [floats("x", 1)], [floats("y", 1)], version), options)
        assert s.run(None, {"x": np.ones(1, np.float32)})[0] == factor
    with pytest.raises(apus.InvalidModel, match="my.domain.Times"):
        apus.InferenceSession(model([node], [floats("x", 1)], [floats("y", 1)]))


def test_domains_share_names():
    """One name in two domains of one model, one of them in two versions."""
    options = apus.SessionOptions()
    for domain, since, factor in (("my.domain", 1, 2), ("my.domain", 2, 3), ("other", 1, 5)):
        options.register_operator(domain, "Times", since, None, lambda node, x, factor=factor: x * np.float32(factor))
    nodes = [helper.make_node("Times", ["x"], ["a"], domain="my.domain"), helper.make_node("Times", ["a"], ["b"], domain="other"),
             helper.make_node("Neg", ["b"], ["y"])]
    for version, factor in ((1, 10), (2, 15)):
        graph = helper.make_graph(nodes, "g", [floats("x", 1)], [floats("y", 1)])
        raw = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("my.domain", version), helper.make_opsetid("other", 1)])
        assert apus.InferenceSession(raw.SerializeToString(), options).run(None, {"x": np.ones(1, np.float32)})[0] == -factor


def test_functions_that_raise():
    def fails(*_):
        raise KeyError("of mine")

    s = session(scaled(), None, fails)
    for _ in range(3):
        with pytest.raises(apus.RuntimeFailure, match="it.*KeyError.*of mine") as info:
            s.run(None, {"x": X})
        assert isinstance(info.value.__cause__, KeyError) and info.value.code == 41
    with pytest.raises(apus.RuntimeFailure, match="KeyError"):
        session(scaled(), fails, lambda node, x: x)

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(scaled(), None, interrupted).run(None, {"x": X})


@pytest.mark.parametrize("result", [
    lambda x: x[:1], lambda x: x.astype(np.float64), lambda x: (x, x), lambda x: None, lambda x: "text", lambda x: [x], lambda x: {1: x}])
def test_results_that_do_not_fit(result):
    with pytest.raises(apus.ApusError):
        session(scaled(), None, lambda node, x: result(x)).run(None, {"x": X})


@pytest.mark.parametrize("types", [[], [(np.float32, [3]), (np.float32, [3])], [3.5], (np.dtype("datetime64[s]"), [3]), None])
def test_types_that_do_not_fit(types):
    with pytest.raises(apus.ApusError):
        session(scaled(), lambda node, inputs: types, lambda node, x: x)


def test_names_that_are_taken():
    for domain, name in (("", "Relu"), ("ai.onnx", "Mine"), ("com.microsoft", "Gelu")):
        options = apus.SessionOptions()
        options.register_operator(domain, name, 1, None, lambda node, x: x)
        with pytest.raises(apus.InvalidArgument, match=name):
            apus.InferenceSession(scaled(), options)


def test_arrays_may_be_kept_and_changed():
    kept = []

    def compute(node, x):
        kept.append(x)
        x += 1
        return x

    s = session(scaled(), None, compute)
    want = -(np.maximum(X, 0) + 1)
    for _ in range(3):
        np.testing.assert_array_equal(s.run(None, {"x": X})[0], want)
    del s
    gc.collect()
    np.testing.assert_array_equal(kept[0], -want)


def test_threads_and_sessions():
    failures = []
    shared = session(scaled(), None, lambda node, x: x * 2)

    def work(number):
        own = session(scaled(), None, lambda node, x: x * np.float32(number))
        for _ in range(30):
            if not np.array_equal(shared.run(None, {"x": X})[0], -np.maximum(X, 0) * 2):
                failures.append("shared")
            if not np.array_equal(own.run(None, {"x": X})[0], -np.maximum(X, 0) * number):
                failures.append(number)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(1, 6)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert not failures


def test_a_function_may_run_another_session():
    inner = session(scaled(), None, lambda node, x: x * 3)
    outer = session(scaled(), None, lambda node, x: -inner.run(None, {"x": x})[0])
    np.testing.assert_array_equal(outer.run(None, {"x": X})[0], -np.maximum(X, 0) * 3)


def test_functions_are_released_with_the_last_session():
    gc.collect()
    before = len(operators._functions)
    s = session(scaled(), None, lambda node, x: x)
    assert len(operators._functions) == before + 1
    s.close()
    del s
    gc.collect()
    assert len(operators._functions) == before
