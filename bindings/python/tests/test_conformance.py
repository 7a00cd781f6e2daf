"""ONNX's own backend tests through apus.backend, optimised and unoptimised.

conformance-passing.txt names the cases that pass. One that is listed there must go on passing; one that is not is expected to
fail, and shows as XPASS when it no longer does. To write the list anew:

    APUS_UPDATE_CONFORMANCE=1 python -m pytest bindings/python/tests/test_conformance.py
"""
import collections
import os
import pathlib
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

import apus  # noqa: E402
import apus.backend  # noqa: E402

LIST = pathlib.Path(__file__).with_name("conformance-passing.txt")
PASSING = set(LIST.read_text().split())
UPDATE = bool(os.environ.get("APUS_UPDATE_CONFORMANCE"))
LEVELS = {"optimized": 99, "unoptimized": 0}
# Results that are drawn at random have no expected value; they are run, and types and shapes compared.
RANDOM = ("test_bernoulli", "test_multinomial", "test_random", "test_training_dropout")
# The kind "real" is left out: its models come from the network.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = {case.name: case for kind in ("node", "simple", "pytorch-converted", "pytorch-operator")
             for case in load_model_tests(kind=kind)}
PASSED = collections.Counter()

_PROTOS = {"tensor_type": onnx.TensorProto, "sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}


def python_value(value):
    """Data sets hold arrays, lists (sequences), None (an empty optional) or messages."""
    for kind, convert in ((onnx.TensorProto, numpy_helper.to_array), (onnx.SequenceProto, numpy_helper.to_list),
                          (onnx.OptionalProto, numpy_helper.to_optional), (onnx.MapProto, numpy_helper.to_dict)):
        if isinstance(value, kind):
            return convert(value)
    return value


def stored(path, argument):
    message = _PROTOS[argument.type.WhichOneof("value")]()
    message.ParseFromString(path.read_bytes())
    return python_value(message)


def load(case):
    """The model of a case and its data sets: pairs of a list of inputs and a list of outputs."""
    if case.model is not None:
        return case.model, [tuple([python_value(v) for v in part] for part in data) for data in case.data_sets or []]
    folder = pathlib.Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    data_sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        files = {kind: sorted(data.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))
                 for kind in ("input", "output")}
        arguments = list(model.graph.input)
        if len(files["input"]) < len(arguments):
            arguments = [argument for argument in arguments if argument.name not in constants]
        data_sets.append(tuple([stored(path, argument) for path, argument in zip(files[kind], part)]
                               for kind, part in (("input", arguments), ("output", model.graph.output))))
    return model, data_sets


def compare(got, want, case):
    if want is None or got is None:
        assert got is None and want is None
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            compare(got[key], want[key], case)
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for one, other in zip(got, want):
            compare(one, other, case)
    else:
        got, want = np.asarray(got), np.asarray(want)
        assert got.shape == want.shape
        if want.dtype.kind in "OUST":
            assert got.astype(str).tolist() == want.astype(str).tolist()
            return
        assert got.dtype == want.dtype
        if case.name.startswith(RANDOM):
            return
        if want.dtype.kind not in "biufc":
            got, want = got.astype(np.float64), want.astype(np.float64)
        np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol)


def run(case, level):
    model, data_sets = load(case)
    # Inputs come by position; initializers, which older models list among the inputs, are left out.
    prepared = apus.backend.prepare(model, sess_options=apus.SessionOptions(graph_optimization_level=level))
    names = [argument.name for argument in prepared.session.get_inputs()]
    for inputs, outputs in data_sets:
        by_name = dict(zip((argument.name for argument in model.graph.input), inputs))
        got = prepared.run({name: by_name[name] for name in names if name in by_name})
        assert len(got) == len(outputs)
        for one, other in zip(got, outputs):
            compare(one, other, case)


def parameters():
    unlisted = pytest.mark.xfail(reason="not in conformance-passing.txt", strict=False)
    return [name if UPDATE or name in PASSING else pytest.param(name, marks=unlisted) for name in sorted(CASES)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", parameters())
def test_case(name, level):
    run(CASES[name], LEVELS[level])
    PASSED[name] += 1


def test_every_listed_case_exists():
    assert PASSING <= CASES.keys()


@pytest.fixture(scope="module", autouse=True)
def update():
    yield
    if UPDATE:
        LIST.write_text("".join(f"{name}\n" for name in sorted(PASSED) if PASSED[name] == len(LEVELS)))
