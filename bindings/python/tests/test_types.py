"""Every element type and every kind of value, as input, output and initializer, through Python."""
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import apus

TYPES = [v for v in TensorProto.DataType.values() if v != TensorProto.UNDEFINED]
NAMES = {v: TensorProto.DataType.Name(v) for v in TYPES}
# Operator sets by the newest types they know: Identity and Cast take every type of their time.
OPSET = onnx.defs.onnx_opset_version()
FLOATS = [v for v in TYPES if NAMES[v].startswith(("FLOAT", "DOUBLE", "BFLOAT"))]
INTEGERS = [v for v in TYPES if NAMES[v].startswith(("INT", "UINT"))]


def dtype(number):
    return np.dtype(object) if number == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(number)


def samples(number, count=11):
    """Elements of a type: every code of the small ones, extremes of the others."""
    kind = dtype(number)
    name = NAMES[number]
    if name == "STRING":
        return np.array(["", "a", "é", "two words", "\0x", "x" * 300][:count], object)
    if name == "BOOL":
        return np.arange(count) % 2 == 1
    if name.startswith("COMPLEX"):
        return (np.arange(count) - 3 + 1j * np.arange(count)).astype(kind)
    if kind.itemsize == 1 and number in FLOATS:
        bits = int("".join(c for c in name.split("E")[0] if c.isdigit()) or 8)
        return np.arange(1 << bits).astype(np.uint8).view(kind)
    if number in INTEGERS:
        info = ml_dtypes.iinfo(kind)
        return np.array([info.min, info.max, 0, 1, info.max - 1] * 3, kind)[:count]
    info = ml_dtypes.finfo(kind)
    return np.array([0, -0.0, 1, -1.5, float(info.max), float(info.smallest_normal), np.inf, -np.inf, np.nan, 3, 7], kind)[:count]


def equal(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == object:
        return a.shape == b.shape and a.tolist() == b.tolist()
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def session(nodes, inputs, outputs, initializers=(), sparse=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers, sparse_initializer=list(sparse))
    return apus.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]).SerializeToString())


def test_the_list_is_complete():
    assert len(TYPES) >= 28
    for number in TYPES:
        assert apus.values.element_type(dtype(number)) == number
        assert apus.values.dtype(number) == dtype(number)


@pytest.mark.parametrize("number", TYPES, ids=NAMES.get)
def test_round_trip(number):
    data = samples(number)
    info = helper.make_tensor_value_info
    for shape in (data.shape, (), (0, 3), (1, data.size, 1)):
        x = data[:1].reshape(()) if shape == () else data[:0].reshape(shape) if 0 in shape else data.reshape(shape)
        constant = numpy_helper.from_array(x, "c")
        nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["c"], ["z"])]
        s = session(nodes, [info("x", number, shape)], [info("y", number, shape), info("z", number, shape)], [constant])
        given, kept = s.run(None, {"x": x})
        assert equal(given, x) and equal(kept, x)
        assert s.get_inputs()[0].type.startswith("tensor(")


@pytest.mark.parametrize("number", TYPES, ids=NAMES.get)
def test_raw_and_typed_initializers(number):
    x = samples(number)
    if number == TensorProto.STRING:
        protos = [helper.make_tensor("c", number, x.shape, [v.encode() for v in x])]
    else:
        raw = numpy_helper.from_array(x, "c")
        typed = helper.make_tensor("c", number, x.shape, x if number in (14, 15) else [v for v in x.tolist()] if number not in FLOATS else x)
        protos = [raw, typed]
    for proto in protos:
        s = session([helper.make_node("Identity", ["c"], ["y"])], [], [helper.make_tensor_value_info("y", number, x.shape)], [proto])
        want = x if number == TensorProto.STRING else numpy_helper.to_array(proto)
        assert equal(s.run(None, {})[0], want)


@pytest.mark.parametrize("number", [v for v in TYPES if v not in (TensorProto.COMPLEX64, TensorProto.COMPLEX128)], ids=NAMES.get)
def test_cast_to_and_from_float(number):
    """Numbers that every type holds survive the way there and back."""
    info = helper.make_tensor_value_info
    values = [1, 2, 4] if "E8M0" in NAMES[number] else [0, 1] if number in (TensorProto.BOOL, TensorProto.INT2) else [0, 1, 2]
    if NAMES[number] == "UINT2":
        values = [0, 1, 2, 3]
    x = np.array(values, np.float32)
    s = session([helper.make_node("Cast", ["x"], ["t"], to=number), helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT)],
                [info("x", TensorProto.FLOAT, ["n"])], [info("t", number, ["n"]), info("y", TensorProto.FLOAT, ["n"])])
    t, y = s.run(None, {"x": x})
    assert t.dtype == dtype(number)
    assert equal(y, x)
    if number != TensorProto.STRING:
        assert equal(t, x.astype(dtype(number)))


@pytest.mark.parametrize("number", [v for v in FLOATS if dtype(v).itemsize == 1], ids=NAMES.get)
def test_small_floats_decode_and_encode_every_code(number):
    x = samples(number)
    info = helper.make_tensor_value_info
    s = session([helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("Cast", ["f"], ["y"], to=number, saturate=0)],
                [info("x", number, ["n"])], [info("f", TensorProto.FLOAT, ["n"]), info("y", number, ["n"])])
    f, y = s.run(None, {"x": x})
    want = x.astype(np.float32)
    np.testing.assert_array_equal(f, want)
    assert equal(y[~np.isnan(want)], x[~np.isnan(want)])
    assert np.isnan(y[np.isnan(want)].astype(np.float32)).all()


@pytest.mark.parametrize("number", TYPES, ids=NAMES.get)
def test_sequences_and_optionals(number):
    x = samples(number)
    tensor = helper.make_tensor_type_proto(number, None)
    sequence = helper.make_sequence_type_proto(tensor)
    info = helper.make_value_info
    s = session([helper.make_node("Identity", ["x"], ["y"])], [info("x", sequence)], [info("y", sequence)])
    for items in ([x, x[:1]], [], [x[:0]]):
        got = s.run(None, {"x": items})[0]
        assert len(got) == len(items) and all(equal(a, b) for a, b in zip(got, items))
    for kind, item in ((tensor, x), (sequence, [x, x[:2]])):
        optional = helper.make_optional_type_proto(kind)
        s = session([helper.make_node("Identity", ["x"], ["y"])], [info("x", optional)], [info("y", optional)])
        got = s.run(None, {"x": item})[0]
        assert equal(got, item) if isinstance(item, np.ndarray) else all(equal(a, b) for a, b in zip(got, item))
        assert s.run(None, {"x": None})[0] is None


def ml_session(node, inputs, outputs):
    graph = helper.make_graph([node], "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return apus.InferenceSession(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize("key, value, data, vocabulary", [
    (TensorProto.INT64, TensorProto.FLOAT, {2: 1.5, 7: 2.5}, dict(int64_vocabulary=[7, 1, 2])),
    (TensorProto.STRING, TensorProto.INT64, {"a": 4, "c": 5}, dict(string_vocabulary=["c", "b", "a"])),
    (TensorProto.STRING, TensorProto.DOUBLE, {"a": 4.25, "c": 5.0}, dict(string_vocabulary=["c", "b", "a"])),
    (TensorProto.INT64, TensorProto.STRING, {2: "x", 7: "yy"}, dict(int64_vocabulary=[7, 1, 2])),
])
def test_maps(key, value, data, vocabulary):
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, []))
    node = helper.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", **vocabulary)
    s = ml_session(node, [helper.make_value_info("x", kind)], [helper.make_tensor_value_info("y", value, None)])
    got = s.run(None, {"x": data})[0]
    words = next(iter(vocabulary.values()))
    assert got.dtype == dtype(value) and got.tolist() == [[data.get(w, "" if value == TensorProto.STRING else 0) for w in words]]


def test_maps_come_out():
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["p", "q"])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])))
    s = ml_session(node, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])], [helper.make_value_info("y", kind)])
    assert s.run(None, {"x": np.array([[1, 2], [3, 4]], np.float32)})[0] == [{"p": 1, "q": 2}, {"p": 3, "q": 4}]
    assert s.get_outputs()[0].type == "seq(map(string,tensor(float)))"


def test_maps_go_in_within_sequences_and_through_operators_of_ours():
    of_map = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    kind = helper.make_sequence_type_proto(of_map)
    rows = [{1: 0.5, 7: 2.0}, {}, {3: -1.0}]
    s = session([helper.make_node("Identity", ["x"], ["y"])], [helper.make_value_info("x", kind)], [helper.make_value_info("y", kind)])
    assert s.run(None, {"x": rows})[0] == rows

    options = apus.SessionOptions()
    options.register_operator("my.domain", "Double", 1, None, lambda node, x: {k: np.float32(2 * v) for k, v in x.items()})
    node = helper.make_node("Double", ["x"], ["y"], domain="my.domain")
    graph = helper.make_graph([node], "g", [helper.make_value_info("x", of_map)], [helper.make_value_info("y", of_map)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)], ir_version=8)
    assert apus.InferenceSession(model.SerializeToString(), options).run(None, {"x": rows[0]})[0] == {1: 1.0, 7: 4.0}


def dense(number, values, shape, positions):
    """What a sparse tensor stands for: elements of bits 0, or empty strings, but for those that are stored."""
    size = int(np.prod(shape))
    if number == TensorProto.STRING:
        whole = np.full(size, "", object)
    else:
        whole = np.zeros(size * dtype(number).itemsize, np.uint8).view(dtype(number)).copy()
    whole[positions] = values
    return whole.reshape(shape)


@pytest.mark.parametrize("indices", ([1, 3, 5], [[0, 1], [1, 0], [1, 2]]), ids=("linear", "coordinates"))
@pytest.mark.parametrize("number", TYPES, ids=NAMES.get)
def test_sparse_constants(number, indices):
    """As an initializer and as an attribute of Constant a sparse tensor is a constant like any other; both forms of indices."""
    values = samples(number)[1:4]
    positions = numpy_helper.from_array(np.array(indices, np.int64), "i")
    if number == TensorProto.STRING:
        stored = helper.make_tensor("c", number, values.shape, [v.encode() for v in values])
    else:
        stored = numpy_helper.from_array(values, "c")
    proto = helper.make_sparse_tensor(stored, positions, [2, 3])
    want, output = dense(number, values, (2, 3), [1, 3, 5]), [helper.make_tensor_value_info("y", number, [2, 3])]
    identity = helper.make_node("Identity", ["c"], ["y"])
    assert equal(session([identity], [], output, sparse=[proto]).run(None, {})[0], want)
    constant = helper.make_node("Constant", [], ["c"], sparse_value=proto)
    assert equal(session([constant, identity], [], output).run(None, {})[0], want)


@pytest.mark.parametrize("number", TYPES, ids=NAMES.get)
def test_sparse_inputs_and_outputs(number):
    kind = helper.make_sparse_tensor_value_info
    s = session([helper.make_node("Identity", ["x"], ["y"])], [kind("x", number, [2, 3])], [kind("y", number, [2, 3])])
    for indices in ([0, 4], [[0, 0], [1, 1]], []):
        values = samples(number)[1:1 + len(indices)]
        given = apus.SparseTensor(values, np.array(indices, np.int64), (2, 3))
        got = s.run(None, {"x": given})[0]
        assert isinstance(got, apus.SparseTensor) and got.shape == (2, 3)
        assert equal(got.values, given.values) and equal(got.indices, given.indices)
    other = TensorProto.DOUBLE if number == TensorProto.FLOAT else TensorProto.FLOAT
    with pytest.raises(apus.ApusError, match="sparse"):
        s.run(None, {"x": apus.SparseTensor(samples(other)[:1], np.zeros(1, np.int64), (2, 3))})


@pytest.mark.parametrize("indices", ([4, 0], [6], [-1], [[0, 3]], [[0, 0, 0]], [0, 0]))
def test_sparse_inputs_that_contradict_themselves(indices):
    kind = helper.make_sparse_tensor_value_info
    s = session([helper.make_node("Identity", ["x"], ["y"])], [kind("x", 1, [2, 3])], [kind("y", 1, [2, 3])])
    with pytest.raises(apus.ApusError, match="sparse"):
        s.run(None, {"x": apus.SparseTensor(np.ones(len(indices), np.float32), np.array(indices, np.int64), (2, 3))})
