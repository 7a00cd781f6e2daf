"""A node of every operator, in every version of it, for every type that its first type constraint allows.

Each must load; where a line of the table below (or the default: tensors of 2 × 3) says what to run it on, it must run too, and
give what onnxruntime gives, or ONNX's reference evaluator where that runs it and onnxruntime does not.
"""
import functools
import re
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import apus  # noqa: E402

try:
    import onnxruntime as ort
except ImportError:
    ort = None

NEWEST = onnx.defs.onnx_opset_version()
ELEMENTS = {"float": "FLOAT", "double": "DOUBLE"} | {name.lower(): name for name in TensorProto.DataType.keys()}
FLOATS = {"float", "double", "float16", "bfloat16"}


def kind_of(text):
    """The message for a type as schemas write it: seq(tensor(float))."""
    outer, inner = re.fullmatch(r"(\w+)\((.*)\)", text.strip()).groups()
    if outer == "tensor":
        return helper.make_tensor_type_proto(getattr(TensorProto, ELEMENTS[inner]), None)
    if outer == "seq":
        return helper.make_sequence_type_proto(kind_of(inner))
    if outer == "optional":
        return helper.make_optional_type_proto(kind_of(inner))
    if outer == "map":
        key, value = inner.split(",", 1)
        value = value if "(" in value else f"tensor({value.strip()})"
        return helper.make_map_type_proto(getattr(TensorProto, ELEMENTS[key.strip()]), kind_of(value))
    raise ValueError(text)


def array(text, shape, low=1):
    """Elements of a type, small and positive: 1, 2, 3, … from `low`."""
    name = re.fullmatch(r"tensor\((\w+)\)", text).group(1)
    count = int(np.prod(shape))
    if name == "string":
        return np.array([str(index % 5 + low) for index in range(count)], object).reshape(shape)
    if name == "bool":
        return (np.arange(count) % 2 == 1).reshape(shape)
    top = 1 if name in ("int2", "float8e8m0") else 3 if name in ("uint2", "float4e2m1") else 5
    numbers = np.arange(count) % (top - low + 1) + low if top >= low else np.full(count, low)
    if name in FLOATS:
        numbers = numbers / 4
    return numbers.astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, ELEMENTS[name]))).reshape(shape)


def body(inputs, outputs, nodes):
    info = helper.make_value_info
    return helper.make_graph(nodes, "b", [info(n, kind_of(t)) for n, t in inputs], [info(n, kind_of(t)) for n, t in outputs])


def branch(text):
    return body([], [("b", text)], [helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(np.ones(2, np.float32)))])


F, I, B = "tensor(float)", "tensor(int64)", "tensor(bool)"
identity = functools.partial(helper.make_node, "Identity")


def LOOP(case):
    """One value of state, which each turn leaves as it is."""
    text = case.choice[case.schema.inputs[2].type_str]
    return body([("i", I), ("c", B), ("v", text)], [("d", B), ("w", text)], [identity(["c"], ["d"]), identity(["v"], ["w"])])



SCAN = lambda: body([("x", F)], [("y", F)], [identity(["x"], ["y"])])
EACH = lambda text: body([("x", text)], [("y", text)], [identity(["x"], ["y"])])
ints = lambda *values: np.array(values, np.int64)
floats = lambda *values: np.array(values, np.float32)


# What a node needs besides tensors of 2 × 3: attributes by name; inputs by index, as arrays (converted to the input's type), or as
# shapes of arrays of 1, 2, 3, …, or None: left out. An index beyond the required inputs adds optional ones. OUTPUTS: how many.
OUTPUTS = -1
ONE_TREE = dict(
    nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
    nodes_values=[2.0, 0.0, 0.0], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0])
LAST = lambda case, name, value: {name: value} if case.has(name) else {}
PICTURE = {0: (1, 2, 4, 4)}
WINDOW = PICTURE | dict(kernel_shape=[2, 2])
WEIGHTS = PICTURE | {1: (3, 2, 2, 2)}
NORM = {0: (2, 3, 2, 2), 1: (3,), 2: (3,)}
QKV = {index: (1, 2, 3, 4) for index in range(3)}


def resize(case):
    scales = floats(1, 1, 2, 2)
    return PICTURE | ({1: scales} if case.version < 11 else {1: (0,), 2: scales})


def recurrent(gates):
    return lambda case: {0: (2, 1, 3), 1: (1, gates * 2, 3), 2: (1, gates * 2, 2), "hidden_size": 2}


def scan(case):
    # In its first version the first input, lengths, may be left out.
    return {"body": SCAN(), "num_scan_inputs": 1} | ({0: None, 1: (1, 2, 3)} if case.version == 8 else {})


def optimizer(count):
    return lambda case: {0: floats(0.1).reshape(()), 1: ints(3).reshape(()), **{2 + index: (2, 3) for index in range(count)}, OUTPUTS: count - 1}


RECIPES = {
    "Adagrad": optimizer(3), "Adam": optimizer(4),
    "Momentum": lambda case: optimizer(3)(case) | dict(alpha=0.9, beta=0.5, mode="standard", norm_coefficient=0.1),
    "TreeEnsemble": dict(
        n_targets=1, tree_roots=[0], nodes_featureids=[0], nodes_splits=numpy_helper.from_array(floats(1.5)),
        nodes_modes=numpy_helper.from_array(np.array([0], np.uint8)), nodes_truenodeids=[0], nodes_trueleafs=[1], nodes_falsenodeids=[1],
        nodes_falseleafs=[1], leaf_targetids=[0, 0], leaf_weights=numpy_helper.from_array(floats(2.5, 4.5))),
    "TreeEnsembleRegressor": ONE_TREE | dict(n_targets=1, target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.5, 2.5]),
    "TreeEnsembleClassifier": ONE_TREE | dict(
        class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[0, 1], class_weights=[1.5, 2.5], classlabels_int64s=[4, 5]),
    "LinearClassifier": dict(coefficients=[1.0, 2.0, 3.0, 0.5, 0.25, 0.125], intercepts=[0.5, 1.0], classlabels_ints=[4, 5]),
    "LinearRegressor": dict(coefficients=[1.0, 2.0, 3.0], intercepts=[0.5]),
    "SVMClassifier": dict(
        kernel_type="LINEAR", coefficients=[1.0, -1.0], vectors_per_class=[1, 1], support_vectors=[1.0, 2.0, 3.0, 0.5, 1.0, 2.0], rho=[0.5],
        classlabels_ints=[4, 5]),
    "SVMRegressor": dict(kernel_type="LINEAR", coefficients=[1.0, -1.0], n_supports=2, support_vectors=[1.0, 2.0, 3.0, 0.5, 1.0, 2.0], rho=[0.5]),
    "Scaler": dict(offset=[1.0], scale=[2.0]),
    "Imputer": lambda case: dict(imputed_value_int64s=[7], replaced_value_int64=2) if "int" in case.types[0]
    else dict(imputed_value_floats=[7.0], replaced_value_float=0.5),
    "OneHotEncoder": lambda case: dict(cats_strings=["1", "3"]) if "string" in case.types[0] else dict(cats_int64s=[1, 3]),
    "LabelEncoder": lambda case: dict(classes_strings=["1", "3"]) if case.version == 1 else
    dict(keys_strings=["1", "3"], values_strings=["b", "c"]) if "string" in case.types[0] else
    dict(keys_int64s=[1, 3], values_int64s=[7, 8]) if "int64" in case.types[0] else
    dict(keys_floats=[0.25, 0.75], values_floats=[7.0, 8.0]) if case.types[0] == "tensor(float)" else
    dict(keys_tensor=numpy_helper.from_array(array(case.types[0], (3,))), values_tensor=numpy_helper.from_array(array(case.types[0], (3,), 2))),
    "CategoryMapper": dict(cats_int64s=[1, 3], cats_strings=["1", "3"]),
    "DictVectorizer": lambda case: dict(string_vocabulary=["b", "a"]) if "map(string" in case.types[0] else dict(int64_vocabulary=[2, 1]),
    "FeatureVectorizer": dict(inputdimensions=[3]),
    "CastMap": lambda case: dict(cast_to="TO_STRING" if "string" in case.types[0] else "TO_FLOAT"),
    "ZipMap": {0: (2, 3), "classlabels_int64s": [4, 5, 6]},
    "ArrayFeatureExtractor": {1: ints(2, 0)},
    "LinearAttention": {0: (1, 3, 4), 1: (1, 3, 4), 2: (1, 3, 4), "kv_num_heads": 1, "q_num_heads": 1, "update_rule": "linear"},
    "SequenceMap": lambda case: dict(body=EACH(case.types[0][4:-1])),
    "BitCast": lambda case: dict(to=getattr(TensorProto, ELEMENTS[case.types[0][7:-1]])),
    "RandomNormal": dict(shape=[2, 3]), "RandomUniform": dict(shape=[2, 3]),
    "RandomNormalLike": dict(dtype=1), "RandomUniformLike": dict(dtype=1),
    "ConcatFromSequence": dict(axis=0), "Concat": lambda case: dict(axis=0),
    "Constant": dict(value=numpy_helper.from_array(floats(1, 2))),
    "GroupNormalization": lambda case: {0: (2, 4, 3), 1: (2 if case.version < 21 else 4,), 2: (2 if case.version < 21 else 4,), "num_groups": 2},
    "If": lambda case: {0: np.array(True), "then_branch": branch(F), "else_branch": branch(F)},
    "Loop": lambda case: {0: ints(3).reshape(()), 1: np.array(True), 2: (2, 3), "body": LOOP(case)}, "Scan": scan,
    "MaxPool": WINDOW, "AveragePool": WINDOW, "LpPool": lambda case: WINDOW,
    "GlobalAveragePool": PICTURE, "GlobalMaxPool": PICTURE, "GlobalLpPool": PICTURE,
    "MaxUnpool": {0: (1, 1, 2, 2), 1: ints(0, 3, 9, 14).reshape(1, 1, 2, 2), "kernel_shape": [2, 2], "strides": [2, 2]},
    "Cast": lambda case: dict(to="FLOAT" if case.version < 6 else TensorProto.FLOAT),
    "Pad": lambda case: {1: ints(0, 1, 1, 0)} if not case.has("pads") and not case.has("paddings") else {
        "pads" if case.has("pads") else "paddings": [0, 1, 1, 0]},
    "TfIdfVectorizer": lambda case: dict(
        mode="TF", ngram_counts=[0], ngram_indexes=[0, 1], max_skip_count=0, min_gram_length=1, max_gram_length=1,
        **(dict(pool_strings=["1", "2"]) if "string" in case.types[0] else dict(pool_int64s=[1, 2]))),
    "Einsum": dict(equation="ij->ji"), "BitShift": dict(direction="LEFT"),
    "MaxRoiPool": PICTURE | {1: floats(0, 0, 0, 3, 3).reshape(1, 5), "pooled_shape": [1, 1]},
    "RoiAlign": PICTURE | {1: floats(0, 0, 3, 3).reshape(1, 4), 2: ints(0)},
    "Slice": lambda case: dict(starts=[0, 1], ends=[2, 2]) if case.has("starts") else {1: ints(0, 1), 2: ints(2, 2)},
    "BatchNormalization": lambda case: NORM | {3: (3,), 4: (3,)} | ({"consumed_inputs": [0, 0, 0, 1, 1], "is_test": 1} if case.version == 1 else LAST(case, "is_test", 1)),
    "InstanceNormalization": lambda case: NORM | ({"consumed_inputs": [0, 0, 0]} if case.version == 1 else {}),
    "LayerNormalization": {1: (3,)}, "RMSNormalization": {1: (3,)}, "MeanVarianceNormalization": PICTURE,
    "DepthToSpace": {0: (1, 4, 2, 2), "blocksize": 2}, "SpaceToDepth": {0: (1, 1, 4, 4), "blocksize": 2},
    "Upsample": lambda case: PICTURE | (
        dict(height_scale=2.0, width_scale=2.0) if case.version == 1 else dict(scales=[1.0, 1.0, 2.0, 2.0]) if case.has("scales") else {1: floats(1, 1, 2, 2)}),
    "Resize": resize, "TopK": lambda case: dict(k=1) if case.has("k") else {1: ints(1)}, "LRN": PICTURE | dict(size=3),
    "Unsqueeze": lambda case: dict(axes=[0]) if case.has("axes") else {1: ints(0)},
    "Squeeze": {0: (1, 3)}, "Reshape": lambda case: dict(shape=[3, 2]) if case.has("shape") else {1: ints(3, 2)},
    "Expand": {1: ints(2, 2, 3)}, "Tile": lambda case: {1: ints(2).reshape(()), 2: ints(1).reshape(())} if case.version == 1 else {1: ints(2, 1)},
    "Gather": {1: ints(1, 0)}, "GatherElements": {1: ints(1, 0, 1).reshape(1, 3)}, "GatherND": {1: ints(1, 0).reshape(2, 1)},
    "Scatter": {1: ints(1, 0, 1).reshape(1, 3), 2: (1, 3)}, "ScatterElements": {1: ints(1, 0, 1).reshape(1, 3), 2: (1, 3)},
    "ScatterND": {1: ints(1).reshape(1, 1), 2: (1, 3)}, "TensorScatter": {0: (1, 4, 3), 1: (1, 2, 3), 2: ints(1)},
    "OneHot": {0: ints(1, 0, 2), 1: np.array(3), 2: (2,)}, "Compress": {1: np.array([True, False, True])},
    "Range": {0: np.array(1), 1: np.array(4), 2: np.array(1)}, "ConstantOfShape": {0: ints(2, 3)},
    "CumSum": {1: np.array(1)}, "CumProd": {1: np.array(1)}, "Trilu": {1: np.array(0)},
    "ReverseSequence": {1: ints(1, 2, 1)}, "NonMaxSuppression": {0: (1, 3, 4), 1: (1, 1, 3)},
    "MatMul": {1: (3, 2)}, "MatMulInteger": {1: (3, 2)}, "Gemm": {1: (3, 2), 2: (2, 2)}, "Det": {0: (2, 2)},
    "QLinearMatMul": {1: (), 2: (), 3: (3, 2), 4: (), 5: (), 6: (), 7: ()}, "QLinearConv": WEIGHTS | {3: (3, 2, 2, 2), 1: (), 2: (), 4: (), 5: (), 6: (), 7: ()},
    "Conv": WEIGHTS, "ConvInteger": WEIGHTS, "ConvTranspose": PICTURE | {1: (2, 3, 2, 2)},
    "DeformConv": WEIGHTS | {2: (1, 8, 3, 3)}, "CausalConvWithState": {0: (1, 2, 4), 1: (2, 1, 3)},
    "Col2Im": {0: (1, 4, 2), 1: ints(2, 3), 2: ints(2, 2)}, "GridSample": PICTURE | {1: (1, 2, 2, 2)},
    "AffineGrid": {0: (1, 2, 3), 1: ints(1, 1, 2, 2)}, "CenterCropPad": {1: ints(3, 2)},
    "QuantizeLinear": {1: ()}, "DequantizeLinear": lambda case: {1: ()}, "Dropout": lambda case: LAST(case, "is_test", 1),
    "RNN": recurrent(1), "GRU": recurrent(3), "LSTM": recurrent(4),
    "Attention": lambda case: QKV if case.schema.domain == "" else {}, "FlexAttention": QKV,
    "RotaryEmbedding": {0: (1, 2, 3, 4), 1: (1, 3, 2), 2: (1, 3, 2)},
    "SequenceAt": {1: np.array(0)}, "Optional": {0: (2, 3)},
    "DFT": lambda case: {0: (1, 4, 1), **({} if case.has("axis") else {1: (), 2: np.array(1)})},
    "STFT": {0: (1, 8, 1), 1: np.array(2), 2: (4,)}, "HannWindow": {0: np.array(4)}, "HammingWindow": {0: np.array(4)}, "BlackmanWindow": {0: np.array(4)},
    "MelWeightMatrix": {0: np.array(4), 1: np.array(8), 2: np.array(8000), 3: np.array(0.0), 4: np.array(4000.0)},
    "NegativeLogLikelihoodLoss": {1: ints(1, 0)}, "SoftmaxCrossEntropyLoss": {1: ints(1, 0)},
    "StringNormalizer": {0: (3,)}, "RegexFullMatch": dict(pattern="[12]"),
    "Split": lambda case: dict(num_outputs=1) if case.has("num_outputs") else {},
    "Gradient": dict(xs=["i0"], y="i0"), "ImageDecoder": {0: np.frombuffer(b"P6 1 1 255\nabc", np.uint8)},
}


# Element types that a schema lists and with which the operator means nothing.
MEANINGLESS = {("Col2Im", "string"), ("GridSample", "string"), ("Gradient", "complex64"), ("Gradient", "complex128")}
# Where the other one is wrong, or ONNX leaves it open.
UNLIKE_ONNXRUNTIME = {
    "Gather": "loses strings", "TreeEnsembleClassifier": "takes two classes for one score and gives numbers for labels",
}
UNLIKE_REFERENCE = {
    "Adagrad": "gives double", "Adam": "gives double", "Momentum": "gives double", "AffineGrid": "gives float", "Det": "gives double", "DictVectorizer": "gives one row without its axis", "LinearRegressor": "keeps the input's type",
    "SVMClassifier": "keeps the input's type", "SVMRegressor": "keeps the input's type", "TreeEnsembleRegressor": "keeps the input's type",
    "Optional": "gives a list", "Pad": "pads strings with numbers, and float8e8m0, which has no zero, with NaN", "Trilu": "sets strings to numbers",
    "CenterCropPad": "pads strings with numbers", "QLinearMatMul": "adds the zero point before it rounds",
    "GridSample": "weighs integers by integers", "RMSNormalization": "gives the type of X, not of the scale", "ReduceSumSquare": "gives uint64 for uint32",
}
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


class Case:
    """One node: a schema and the types of its type parameters."""

    def __init__(self, schema, choice):
        self.schema, self.choice = schema, choice
        formal = list(schema.inputs)
        least = max(schema.min_input, 1 if formal and formal[0].option.name == "Variadic" else 0)
        formal += formal[-1:] * (least - len(formal))
        self.types = [choice.get(one.type_str, one.type_str) for one in formal[:least]]
        recipe = RECIPES.get(schema.name, {})
        recipe = recipe(self) if callable(recipe) else recipe
        self.attributes = {k: v for k, v in recipe.items() if isinstance(k, str)}
        self.outputs = recipe.get(OUTPUTS, max(schema.min_output, 1))
        self.given = {k: v for k, v in recipe.items() if isinstance(k, int) and k != OUTPUTS}
        for index in range(len(self.types), max(self.given, default=-1) + 1):
            one = schema.inputs[min(index, len(schema.inputs) - 1)]
            self.types.append(choice.get(one.type_str, one.type_str))

    @property
    def version(self):
        return self.schema.since_version

    def has(self, attribute):
        return attribute in self.schema.attributes

    def values(self):
        """What the node runs on, by name."""
        return {name: self.value(index) for index, name in enumerate(self.names) if name}

    @property
    def names(self):
        return ["" if self.given.get(index, ()) is None else f"i{index}" for index in range(len(self.types))]

    def value(self, index):
        text, value = self.types[index], self.given.get(index, (2, 3))
        if isinstance(value, tuple):
            outer, inner = re.fullmatch(r"(\w+)\((.*)\)", text).groups()
            if outer == "seq":
                return [self.of(inner, value)] * 2
            return self.of(inner, value) if outer == "optional" else self.of(text, value)
        if text.startswith("tensor(") and "string" not in text:
            return value.astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, ELEMENTS[text[7:-1]])))
        return value

    def of(self, text, shape):
        outer, inner = re.fullmatch(r"(\w+)\((.*)\)", text).groups()
        if outer == "seq":
            return [self.of(inner, shape)]
        if outer == "map":
            key, item = (part.strip() for part in inner.split(",", 1))
            return {("a" if key == "string" else 1): array(item if "(" in item else f"tensor({item})", ()).item()}
        return array(text, shape)

    def model(self):
        schema, names = self.schema, self.names
        results = [f"o{index}" for index in range(self.outputs)]
        node = helper.make_node(schema.name, names, results, domain=schema.domain, **self.attributes)
        inputs = [helper.make_value_info(name, kind_of(text)) for name, text in zip(names, self.types) if name]
        opsets = [helper.make_opsetid(schema.domain, self.version)] + ([helper.make_opsetid("", 21)] if schema.domain else [])
        # The types of outputs are left to the runtime.
        graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in results])
        return helper.make_model(graph, opset_imports=opsets, ir_version=13).SerializeToString()


def cases(domain, name):
    for schema in onnx.defs.get_all_schemas_with_history():
        if (schema.domain, schema.name) != (domain, name):
            continue
        allowed = {one.type_param_str: list(one.allowed_type_strs) for one in schema.type_constraints}
        swept = schema.type_constraints[0].type_param_str if allowed else None
        for text in allowed.get(swept, [None]):
            choice = {name: next((t for t in (F, I, B) if t in types), types[0]) for name, types in allowed.items()}
            if name == "SequenceInsert":
                choice["S"] = f"seq({text})"
            if text is None or (name, text[7:-1]) not in MEANINGLESS:
                yield Case(schema, choice | ({swept: text} if swept else {})), text


def expected(case, raw, feeds):
    """What another runtime gives; None where none runs it, or is right."""
    name = case.schema.name
    if ort and name not in UNLIKE_ONNXRUNTIME:
        try:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"]).run(None, feeds)
        except Exception:
            pass
    # The reference evaluator knows newer versions only.
    if name not in UNLIKE_REFERENCE and (case.version >= 13 or case.schema.domain):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return ReferenceEvaluator(raw).run(None, feeds)
        except Exception:
            pass
    return None


def check(got, want, tolerance):
    if want is None or isinstance(want, dict):
        assert got == want
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for one, other in zip(got, want):
            check(one, other, tolerance)
    else:
        want = np.asarray(want)
        assert got.shape == want.shape
        if want.dtype.kind in "OUST":
            assert got.astype(str).tolist() == want.astype(str).tolist()
            return
        assert got.dtype == want.dtype
        if want.dtype.kind not in "c":
            got, want = got.astype(np.float64), want.astype(np.float64)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


NAMES = sorted({(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()})
COMPARED = {}


@pytest.mark.parametrize("domain, name", NAMES, ids=[".".join(filter(None, key)) for key in NAMES])
def test_every_version_and_type(domain, name):
    wrong, compared = [], 0
    for case, text in cases(domain, name):
        try:
            raw, feeds = case.model(), case.values()
            got = apus.InferenceSession(raw).run(None, feeds)
            want = None if name in RANDOM else expected(case, raw, feeds)
            if want is not None:
                compared += 1
                check(got, want, 2e-2 if "float16" in str(text) else 1e-4)
        except Exception as error:
            wrong.append(f"version {case.version} {text}: {str(error)[:300]}")
    COMPARED[name] = compared
    assert not wrong, "\n".join(wrong)


def test_most_were_compared():
    if len(COMPARED) < len(NAMES):
        pytest.skip("only some of the operators were run")
    assert sum(COMPARED.values()) > (5000 if ort else 3000)
