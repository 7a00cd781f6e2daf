"""Every operator with dimensions of 0, and with scalars: ONNX's backend tests, whose inputs are cut down.

Whatever comes, a run ends with results or with an error of Apus. Where ONNX's reference evaluator has results, Apus has results of
the same shapes, but for inputs that are not what the operator's definition asks for.
"""
import pathlib
import sys
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

import apus  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import test_conformance as conformance  # noqa: E402

NAMES = [name for name, case in sorted(conformance.CASES.items()) if case.kind == "node"]
# Inputs that cannot be right, which the reference evaluator does not notice.
REFUSED = (
    "theta has shape", "window of", "expected 0 along axis", "boxes have 0 coordinates", "name 0 coordinates", "sequences have 0 steps",
    "sizes of split sum up", "is outside of [0, -1]", "past_state has shape", "(W) has shape", "must have shape [C]", "numbers for",
    "kernel of W has 0 elements", "neither scales nor sizes",
)


def without_shapes(model):
    """The model with inputs and outputs of any shape."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in [*copy.graph.input, *copy.graph.output]:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]
    return copy


def shapes(values):
    return [np.shape(value) if isinstance(value, (np.ndarray, np.generic)) else type(value) for value in values]


def variants(inputs):
    """Inputs in which all dimensions of one size are 0, for each size; then all as scalars."""
    for size in sorted({dimension for x in inputs for dimension in x.shape}):
        yield True, [x[tuple(slice(0 if extent == size else None) for extent in x.shape)] for x in inputs]
    yield False, [x.reshape(-1)[:1].reshape(()) if x.size else x for x in inputs]


@pytest.mark.parametrize("part", range(8))
def test_nothing_and_scalars(part):
    compared = 0
    for name in NAMES[part::8]:
        model, data_sets = conformance.load(name)
        inputs = data_sets[0][0] if data_sets else []
        if len(model.graph.input) != len(inputs) or not all(isinstance(x, np.ndarray) for x in inputs):
            continue
        changed = without_shapes(model)
        raw = changed.SerializeToString()
        for is_cut, values in variants(inputs):
            feed = dict(zip((argument.name for argument in model.graph.input), values))
            try:
                got = shapes(apus.InferenceSession(raw).run(None, feed))
            except apus.ApusError as error:
                got = error
            if not is_cut:
                continue
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    want = shapes(ReferenceEvaluator(changed).run(None, feed))
            except Exception:  # the reference evaluator fails in many ways
                continue
            what = f"{name} with {[x.shape for x in values]}: {got}, expected {want}"
            if isinstance(got, apus.ApusError):
                assert any(text in str(got) for text in REFUSED), what
            elif name not in DATA_DECIDES:
                assert got == want, what
                compared += 1
    assert compared > 300


# Shapes that follow from data, in which the reference differs.
DATA_DECIDES = {"test_range_bfloat16_type_positive_delta_expanded"}
