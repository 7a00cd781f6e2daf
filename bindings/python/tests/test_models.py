"""Real models of other people, where they are at hand: outputs within the stated tolerance in every configuration."""
import json
import pathlib

import numpy as np
import pytest

import apus

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "models"
if not (SHARED / "manifest.json").exists():
    pytest.skip("../shared/models is absent", allow_module_level=True)
MANIFEST = json.loads((SHARED / "manifest.json").read_text())
CASES = [(name, number) for name in sorted(MANIFEST) for number in range(len(MANIFEST[name]["cases"]))]


def flat(outputs, names):
    """Outputs by the names under which the references are stored: a list of maps as their common keys, and values."""
    result = {}
    for name, value in zip(names, outputs):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            assert all(row.keys() == value[0].keys() for row in value)
            result[name + "#zipmap_keys"] = np.array(list(value[0]))
            result[name + "#zipmap_values"] = np.array([list(row.values()) for row in value], np.float32)
        else:
            result[name] = np.asarray(value)
    return result


@pytest.mark.parametrize("name, number", CASES)
@pytest.mark.parametrize("cpu", [None, "generic"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("level", [0, 99])
def test_model(name, number, level, threads, cpu):
    case = MANIFEST[name]["cases"][number]
    inputs = dict(np.load(SHARED / name / case["inputs"], allow_pickle=False))
    want = dict(np.load(SHARED / name / case["outputs"], allow_pickle=False))
    options = apus.SessionOptions(graph_optimization_level=level, intra_op_num_threads=threads, cpu=cpu)
    session = apus.InferenceSession(SHARED / name / "model.onnx", options)
    got = flat(session.run(None, inputs), [o.name for o in session.get_outputs()])
    assert got.keys() == want.keys()
    for key, reference in want.items():
        assert got[key].shape == reference.shape and got[key].dtype == reference.dtype
        if reference.dtype.kind == "f":
            tolerance = case["tol_abs"].get(key.split("#")[0], case["tol_abs"].get(key, 1e-4))
            np.testing.assert_allclose(got[key].astype(np.float64), reference, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(got[key], reference)
