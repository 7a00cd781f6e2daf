"""Numbers and shapes at the edge: integers that overflow, divisions by zero, casts of what does not fit, dimensions of 0, scalars where
no scalar belongs. Nothing of it may end the process; what has a result has ONNX's."""
import pathlib
import sys
import warnings

import ml_dtypes
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import apus  # noqa: E402

# The modules of this folder are no package.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import test_contributed as contributed  # noqa: E402
import test_schemas as schemas  # noqa: E402

INTEGERS = [np.dtype(kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")]
CONFIGURATIONS = [dict(graph_optimization_level=level, cpu=cpu) for level in (0, 99) for cpu in ("", "generic")]


def run(op, inputs, constant=(), opset=28, domain="", configurations=CONFIGURATIONS, **attributes):
    """The results of one node in every configuration, which must be the same."""
    protos = [numpy_helper.from_array(np.asarray(value), f"i{index}") for index, value in enumerate(inputs)]
    node = helper.make_node(op, [one.name for one in protos], ["o"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for index, one in enumerate(protos) if index not in constant],
        [onnx.ValueInfoProto(name="o")], [one for index, one in enumerate(protos) if index in constant])
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=13).SerializeToString()
    feeds = {f"i{index}": value for index, value in enumerate(inputs) if index not in constant}
    found = []
    for settings in configurations:
        settings = {key: value for key, value in settings.items() if value != ""}
        found.append(apus.InferenceSession(raw, apus.SessionOptions(**settings)).run(None, feeds)[0])
    for other in found[1:]:
        assert found[0].dtype == other.dtype
        np.testing.assert_array_equal(*(one.astype(np.float64) if "float" in one.dtype.name else one for one in (found[0], other)))
    return found[0]


def extremes(kind):
    """All pairs of extreme numbers, often enough to fill vectors."""
    info = np.iinfo(kind)
    numbers = np.array(sorted({info.min, info.min + 1, max(info.min, -7), max(info.min, -1), 0, 1, 3, 7, info.max - 1, info.max}), kind)
    a, b = np.meshgrid(numbers, numbers)
    return np.tile(a.ravel(), 3), np.tile(b.ravel(), 3)


def truncated(a, b):
    """a / b towards zero; 0 where b is 0; the least number where it is divided by -1."""
    exact = [0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) for x, y in zip(a.tolist(), b.tolist())]
    bits = a.dtype.itemsize * 8
    return np.array([value & (1 << bits) - 1 for value in exact], np.uint64).astype(a.dtype.str.replace("i", "u")).view(a.dtype)


def floored(a, b):
    """The remainder with the sign of b, which numpy does not have where b is the least number; 0 where b is 0."""
    return np.array([0 if y == 0 else x % y for x, y in zip(a.tolist(), b.tolist())], a.dtype)


def shifted(a, b, direction):
    bits = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < bits)
    with np.errstate(all="ignore"):
        distance = np.where(inside, b, 0).astype(a.dtype)
        result = a << distance if direction == "LEFT" else a >> distance
    return np.where(inside, result, np.where((a < 0) & (direction == "RIGHT"), -1, 0).astype(a.dtype))


BINARY = {
    "Add": (np.add, {}), "Sub": (np.subtract, {}), "Mul": (np.multiply, {}), "Div": (truncated, {}), "Mod": (floored, {}), "Mod, as C": (lambda a, b: np.where(b == 0, 0, a - b * truncated(a, b)).astype(a.dtype), dict(fmod=1)),
    "Max": (np.maximum, {}), "Min": (np.minimum, {}), "BitwiseAnd": (np.bitwise_and, {}), "BitwiseOr": (np.bitwise_or, {}),
    "BitwiseXor": (np.bitwise_xor, {}), "Less": (np.less, {}), "GreaterOrEqual": (np.greater_equal, {}), "Equal": (np.equal, {}),
    "BitShift, left": (lambda a, b: shifted(a, b, "LEFT"), dict(direction="LEFT")),
    "BitShift, right": (lambda a, b: shifted(a, b, "RIGHT"), dict(direction="RIGHT")),
}


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_integers(name, kind):
    reference, attributes = BINARY[name]
    a, b = extremes(kind)
    op = name.split(",")[0]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = reference(a, b)
        alone = [reference(a, np.full_like(a, number)) for number in b[:: len(set(b.tolist()))][:10]]
    np.testing.assert_array_equal(run(op, [a, b], **attributes), want)
    # A constant may be folded, or its reciprocal taken.
    np.testing.assert_array_equal(run(op, [a, b], constant=(1,), **attributes), want)
    np.testing.assert_array_equal(run(op, [a, b], constant=(0, 1), **attributes), want)
    for number, one in zip(b[:: len(set(b.tolist()))][:10], alone):
        np.testing.assert_array_equal(run(op, [a, np.array(number, kind)], constant=(1,), **attributes), one)


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
def test_single_integers(kind):
    a, _ = extremes(kind)
    signed = np.issubdtype(kind, np.signedinteger)
    with np.errstate(all="ignore"):
        for op, reference in (("Abs", np.abs), ("Sign", np.sign), ("BitwiseNot", np.invert)) + ((("Neg", np.negative),) if signed else ()):
            np.testing.assert_array_equal(run(op, [a]), reference(a), err_msg=op)
        info = np.iinfo(kind)
        np.testing.assert_array_equal(run("Clip", [a, np.array(info.max, kind), np.array(info.min, kind)]), np.full_like(a, info.min))
        if kind.itemsize >= 4:
            for op, reference in (("ReduceSum", np.sum), ("ReduceProd", np.prod), ("ReduceMax", np.max), ("ReduceMin", np.min), ("CumSum", np.cumsum)):
                given = [a, np.array(0)] if op == "CumSum" else [a]
                got = run(op, given, **({} if op == "CumSum" else dict(keepdims=0)))
                np.testing.assert_array_equal(got, reference(a, dtype=kind) if op not in ("ReduceMax", "ReduceMin") else reference(a), err_msg=op)
        run("Pow", [a, a]) if kind in (np.int32, np.int64) else None


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, 127.5, 128, -129, 255.5, 256, 32768, -32769, 65536, 2.0**31, -(2.0**31) - 1,
           2.0**32, 2.0**63, -(2.0**63) * 2, 2.0**64, 1e30, -1e30, 1e-30]


@pytest.mark.parametrize("number", [v for v in schemas.TensorProto.DataType.values() if v not in (0, 8, 14, 15)],
                         ids=lambda v: TensorProto.DataType.Name(v))
@pytest.mark.parametrize("source", [np.float32, np.float64, np.float16])
def test_casts_of_what_does_not_fit(source, number):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL * 3).astype(source)
    got = run("Cast", [x], to=number)
    assert got.shape == x.shape
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    if kind.name.startswith(("int", "uint")):
        # What fits is cut; the rest is whatever it is, every time.
        info = ml_dtypes.iinfo(kind)
        fits = np.isfinite(x) & (np.trunc(x.astype(np.float64)) >= info.min) & (np.trunc(x.astype(np.float64)) <= info.max) & (np.abs(x) < 2.0**62)
        np.testing.assert_array_equal(got[fits], x[fits].astype(kind))
    elif kind.kind == "b":
        np.testing.assert_array_equal(got, x != 0)
    elif kind.name in ("float16", "bfloat16", "float32", "float64"):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got.astype(np.float64), x.astype(kind).astype(np.float64))


@pytest.mark.parametrize("target", INTEGERS, ids=str)
@pytest.mark.parametrize("source", INTEGERS, ids=str)
def test_casts_between_integers_wrap(source, target):
    a, _ = extremes(source)
    np.testing.assert_array_equal(run("Cast", [a], to=helper.np_dtype_to_tensor_dtype(target)), a.astype(target))


def test_rounding_of_doubles():
    half = np.array([0, 0.3, 0.5, 0.7, 1, 1.5, 2.5, 2.0**51 + 0.5, 2.0**52 - 0.5, 2.0**52 + 1, 2.0**53 + 2, 1e300, np.inf, np.nan, 5e-324])
    x = np.concatenate([half, -half, np.random.default_rng(3).standard_normal(50) * 10])
    for op, reference in (("Round", np.rint), ("Floor", np.floor), ("Ceil", np.ceil)):
        got, want = run(op, [x]), reference(x)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_doubles_are_rounded_once():
    """By way of float a number just above a tie would become the tie, and then the wrong neighbour."""
    for kind, bits, least in ((np.float16, 10, -24), (ml_dtypes.bfloat16, 7, -133)):
        above = np.array([1 + 2.0 ** -(bits + 1) + 2.0**-45, 2.0 ** (least - 1) * (1 + 2.0**-40), -(2.0 ** (least - 1)) * (1 + 2.0**-40), 0.0, -0.0, 1e300] * 30)
        want = np.array([1 + 2.0**-bits, 2.0**least, -(2.0**least), 0.0, -0.0, np.inf] * 30)
        got = run("Cast", [above], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind))).astype(np.float64)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    x = np.random.default_rng(4).standard_normal(1000) * 10.0 ** np.random.default_rng(5).integers(-9, 6, 1000)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run("Cast", [x], to=TensorProto.FLOAT16), x.astype(np.float16))


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int32], ids=lambda kind: np.dtype(kind).name)
def test_reductions_over_every_choice_of_axes(kind):
    rng = np.random.default_rng(6)
    for shape in ((3, 70, 2, 140), (2, 0, 3), (1, 5), (2100,), ()):
        x = (rng.standard_normal(shape) * 4).astype(kind)
        exact = x.astype(np.float64)
        for chosen in range(1 << len(shape)):
            axes = tuple(axis for axis in range(len(shape)) if chosen >> axis & 1)
            for op, reference in (("ReduceSum", np.sum), ("ReduceMean", np.mean), ("ReduceL1", lambda v, axis: np.abs(v).sum(axis)), ("ReduceMax", np.max), ("ReduceMin", np.min)):
                if x.size == 0 and op != "ReduceSum":
                    continue
                if np.dtype(kind).kind == "i" and op == "ReduceMean":
                    continue
                got = run(op, [x, np.array(axes, np.int64)], constant=(1,), keepdims=0, noop_with_empty_axes=1, configurations=CONFIGURATIONS[:1])
                want = reference(exact, axis=axes) if axes or op in ("ReduceSum", "ReduceL1") else exact
                step = 2e-6 if np.dtype(kind).itemsize > 2 else 1e-2
                with np.errstate(over="ignore"):
                    want = np.asarray(want).astype(kind).astype(np.float64)
                np.testing.assert_allclose(got.astype(np.float64), want, rtol=step, atol=step * 20 if "Max" not in op and "Min" not in op else 0, err_msg=f"{op} {shape} {axes}")
    x = rng.standard_normal((4, 300)).astype(kind)
    if np.dtype(kind).kind != "i":
        x[1, 200] = x[2, 5] = x[2, 250] = np.nan
        for op in ("ReduceMax", "ReduceMin"):
            for axes in ([1], [0]):
                got = run(op, [x, np.array(axes)], constant=(1,), keepdims=0, configurations=CONFIGURATIONS[:1])
                np.testing.assert_array_equal(np.isnan(got.astype(np.float64)), np.isnan(x.astype(np.float64)).any(axes[0]))
    for last in (0, 1):
        for op, reference in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
            y = np.array([[1, 5, 5, 2, 1, 1] * 9, [3] * 54, list(range(54)), list(range(54))[::-1]]).astype(kind)
            want = reference(y.astype(np.float64)[:, ::-1] if last else y.astype(np.float64), axis=1)
            got = run(op, [y], axis=1, keepdims=0, select_last_index=last)
            np.testing.assert_array_equal(got, 53 - want if last else want)
    if kind is np.float32:
        np.testing.assert_array_equal(run("ArgMax", [x], axis=1, keepdims=0), np.argmax(x, axis=1))


@pytest.mark.parametrize("op, inputs, attributes", [
    ("Gather", [np.arange(3), np.array([3])], {}), ("Gather", [np.arange(3), np.array([-4])], {}),
    ("Gather", [np.arange(3), np.array([np.iinfo(np.int64).min])], {}), ("Gather", [np.zeros((0, 2)), np.array([0])], {}),
    ("GatherElements", [np.zeros((2, 2)), np.array([[2]])], {}), ("GatherND", [np.zeros((2, 2)), np.array([[0, 2]])], {}),
    ("ScatterElements", [np.zeros(2), np.array([-3]), np.zeros(1)], {}), ("ScatterND", [np.zeros(2), np.array([[2]]), np.zeros(1)], {}),
    ("Range", [np.array(0), np.array(4), np.array(0)], {}), ("Gather", [np.zeros((3, 2)), np.array([9])], dict(axis=1)),
    ("TensorScatter", [np.zeros((1, 4, 2)), np.zeros((1, 2, 2)), np.array([3])], {}),
])
def test_indices_out_of_range_are_errors(op, inputs, attributes):
    with pytest.raises(apus.ApusError):
        run(op, inputs, **attributes)


def variants(value):
    """The array with each dimension 0 in turn, with all, as a scalar, and with an axis more."""
    for axis in range(value.ndim):
        yield np.ascontiguousarray(np.take(value, [], axis))
    if value.size:
        yield value.reshape(-1)[:1].reshape(())
    if value.ndim:
        yield value.reshape(-1)[:0].reshape((0,) * value.ndim)
    yield value[None]


def outcomes(build, values):
    """How many of the variants of a node's inputs run; the others are errors."""
    count = 0
    changes = [{name: other} for name, value in values.items() if isinstance(value, np.ndarray) for other in variants(value)]
    changes.append({name: np.ascontiguousarray(value[:0]) for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim > 0})
    for change in changes:
        try:
            session = apus.InferenceSession(build({name: change.get(name, value) for name, value in values.items()}))
            session.run(None, values | change)
            count += 1
        except apus.ApusError:
            pass
    return count


def reshaped(raw, values):
    """The model with the shapes of `values` for its inputs, or none."""
    model = onnx.load_from_string(raw)
    for argument in model.graph.input:
        if argument.name in values and isinstance(values[argument.name], np.ndarray) and argument.type.HasField("tensor_type"):
            shape = argument.type.tensor_type.shape
            shape.ClearField("dim")
            for size in values[argument.name].shape:
                shape.dim.add().dim_value = size
    return model.SerializeToString()


NEWEST = {}
for schema in onnx.defs.get_all_schemas_with_history():
    key = schema.domain, schema.name
    if key not in NEWEST or NEWEST[key] < schema.since_version:
        NEWEST[key] = schema.since_version


@pytest.mark.parametrize("domain, name", sorted(NEWEST), ids=[".".join(filter(None, key)) for key in sorted(NEWEST)])
def test_shapes_of_every_operator(domain, name):
    case = next(case for case, _ in schemas.cases(domain, name) if case.version == NEWEST[domain, name])
    values, raw = case.values(), case.model()
    outcomes(lambda changed: reshaped(raw, changed), values)


@pytest.mark.parametrize("name", contributed.CASES)
def test_shapes_of_contributed_operators(name):
    op, inputs, outputs, attributes, constant, _ = contributed.CASES[name]
    raw, values = contributed.build(op, inputs, outputs, attributes, constant)
    outcomes(lambda changed: reshaped(raw, changed), values)


def convolve(name, shape, kernel, **attributes):
    """A convolution's result in every configuration; None for a refusal that says something."""
    node = helper.make_node(name, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [onnx.ValueInfoProto(name="y")], [kernel])
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    for settings in CONFIGURATIONS:
        settings = {key: value for key, value in settings.items() if value != ""}
        try:
            yield apus.InferenceSession(raw, apus.SessionOptions(**settings)).run(None, {"x": np.zeros(shape, np.float32)})[0]
        except (apus.ApusError, ValueError) as error:
            assert str(error)
            yield None


@pytest.mark.parametrize("group, channels, stride", [(1, 8, 1), (8, 8, 1), (1, 32, 1), (1, 32, 2)])
@pytest.mark.parametrize("padding", [1 << 58, 1 << 60, 1 << 61, (1 << 62) - 1])
@pytest.mark.parametrize("sides", [[0], [16], [0, 16], [16, 16]], ids=str)
@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_no_pictures_with_endless_padding(name, sides, padding, group, channels, stride):
    """An output without elements may have sides beyond all bounds: it is made, or refused."""
    axes = len(sides)
    for side in (3, 4, 5) if group == 1 else (5,):
        kernel = numpy_helper.from_array(np.zeros([channels, channels // group] + [side] * axes, np.float32), "w")
        pads = ([padding] + [1] * (axes - 1)) * 2
        for result in convolve(name, [0, channels, *sides], kernel, group=group, pads=pads, strides=[stride] * axes):
            assert result is None or result.size == 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("window", [(1 << 62, 4), (1 << 62, 1 << 62), (1 << 40, 1 << 40), ((1 << 63) - 1, 3), (3, 1 << 61)], ids=str)
@pytest.mark.parametrize("channels", [(16, 0), (0, 16), (0, 0), (32, 0)], ids=str)
@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_endless_weights_without_elements(name, channels, window, batch, stride):
    kernel = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[*channels, *window], raw_data=b"")
    inputs = channels[0] if name == "ConvTranspose" else channels[1]
    for result in convolve(name, [batch, inputs, 8, 8], kernel, strides=[stride, stride]):
        assert result is None or result.size == 0 or not result.any()
