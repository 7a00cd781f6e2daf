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
KNOWN = set((pathlib.Path(__file__).with_name("models-passing.txt")).read_text().split())
CASES = [(name, number) for name in sorted(MANIFEST) for number in range(len(MANIFEST[name]["cases"]))]


def flat(outputs, names):
    """Outputs by the names under which the references are stored: a list of maps as its keys and values."""
    result = {}
    for name, value in zip(names, outputs):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            result[name + "#zipmap_keys"] = np.array([list(row) for row in value])
            result[name + "#zipmap_values"] = np.array([list(row.values()) for row in value])
        else:
            result[name] = np.asarray(value)
    return result


@pytest.mark.parametrize("name, number", CASES)
@pytest.mark.parametrize("level, threads, cpu", [(99, 1, None), (0, 1, "generic"), (99, 2, None), (0, 2, None)])
def test_model(name, number, level, threads, cpu):
    if name not in KNOWN:
        pytest.skip("not yet in models-passing.txt")
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
