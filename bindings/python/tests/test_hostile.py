"""Malformed and hostile models: ../shared/bad where it is at hand, and models without end that are made here."""
import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import apus

BAD = pathlib.Path(__file__).resolve().parents[4] / "shared" / "bad"
IS_THERE = (BAD / "cases" / "cases.json").exists()
CASES = {case["id"]: case for case in json.loads((BAD / "cases" / "cases.json").read_text())} if IS_THERE else {}
needs_cases = pytest.mark.skipif(not IS_THERE, reason="../shared/bad is absent")
# Legal models whose work has no end: their judge gives no limits, so it only sees them go on. `test_ends_by_its_limits` does.
ENDLESS = [name for name, case in CASES.items() if case["expect"] == "limit"]

CANCELLED, DEADLINE_EXCEEDED, MEMORY_LIMIT = 80, 81, 60


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """The judgement of all cases, each of which ran in a process of its own."""
    report = tmp_path_factory.mktemp("bad") / "report.json"
    subprocess.run([sys.executable, BAD / "run.py", "apus", "--timeout", "60", "--json", report, "--only",
                    ",".join(name for name in CASES if name not in ENDLESS)],
                   check=True, stdout=subprocess.DEVNULL, timeout=1500)
    return {case["id"]: case for case in json.loads(report.read_text())["cases"]}


@needs_cases
@pytest.mark.parametrize("name", [name for name in CASES if name not in ENDLESS] or ["none"])
def test_case(name, verdicts):
    verdict = verdicts[name]
    assert verdict["verdict"] == "ok", f"{CASES[name]['expect']}, but {verdict['stage']}: {verdict['err']}"


def endless_loops():
    """A Loop whose results grow for ever, a Loop that only counts, and the first of them inside an If."""
    onnx = pytest.importorskip("onnx")
    TensorProto, helper = onnx.TensorProto, onnx.helper

    def loop(grows):
        body = helper.make_graph(
            [helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Add", ["x_in", "x_in"], ["x"])]
            + [helper.make_node("Identity", ["x_in"], ["row"])] * grows,
            "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
             helper.make_tensor_value_info("x_in", TensorProto.FLOAT, [64])],
            [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("x", TensorProto.FLOAT, [64])]
            + [helper.make_tensor_value_info("row", TensorProto.FLOAT, [64])] * grows)
        return [helper.make_node("Loop", ["", "yes", "start"], ["end"] + ["rows"] * grows, body=body)]

    def model(nodes, result, rank):
        # Inputs rather than constants, so that nothing is computed when the model is loaded.
        graph = helper.make_graph(
            nodes, "endless",
            [helper.make_tensor_value_info("start", TensorProto.FLOAT, [64]), helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None] * rank)])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()

    branch = helper.make_graph(loop(True), "branch", [], [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 64])])
    condition = [helper.make_node("If", ["yes"], ["result"], then_branch=branch, else_branch=branch)]
    return {"grows": model(loop(True), "rows", 2), "counts": model(loop(False), "end", 1), "in a branch": model(condition, "result", 2)}


FEED = {"start": np.zeros(64, np.float32), "yes": np.array(True)}


def assert_ends(open_session, feed, code, memory_limit=None, time_limit=None):
    session = open_session(apus.SessionOptions(memory_limit=memory_limit, intra_op_num_threads=1))
    with pytest.raises(apus.ApusError) as failure:
        session.run(None, feed, apus.RunOptions(time_limit=time_limit))
    assert failure.value.code == code, failure.value
    return failure.value


@pytest.mark.parametrize("name, code, limits", [
    ("grows", MEMORY_LIMIT, dict(memory_limit=16 << 20, time_limit=60)),
    ("in a branch", MEMORY_LIMIT, dict(memory_limit=16 << 20, time_limit=60)),
    ("grows", DEADLINE_EXCEEDED, dict(time_limit=0.2)),
    ("in a branch", DEADLINE_EXCEEDED, dict(time_limit=0.2)),
    ("counts", DEADLINE_EXCEEDED, dict(time_limit=0.2)),
])
def test_endless_loops_end_by_limits(name, code, limits):
    model = endless_loops()[name]
    assert_ends(lambda options: apus.InferenceSession(model, options), FEED, code, **limits)


@pytest.mark.parametrize("name", ["grows", "counts", "in a branch"])
def test_endless_loops_can_be_cancelled(name):
    session = apus.InferenceSession(endless_loops()[name], apus.SessionOptions(intra_op_num_threads=1))
    options = apus.RunOptions(time_limit=60)
    timer = threading.Timer(0.2, options.cancel)
    timer.start()
    with pytest.raises(apus.Interrupted) as failure:
        session.run(None, FEED, options)
    timer.join()
    assert failure.value.code == CANCELLED


@needs_cases
@pytest.mark.parametrize("name", ENDLESS or ["none"])
@pytest.mark.parametrize("code, limits", [
    (MEMORY_LIMIT, dict(memory_limit=16 << 20, time_limit=120)), (DEADLINE_EXCEEDED, dict(time_limit=0.5))])
def test_ends_by_its_limits(name, code, limits):
    case = CASES[name]
    feed = dict(np.load(BAD / "cases" / case["inputs"])) if "inputs" in case else {}
    started = time.monotonic()
    assert_ends(lambda options: apus.InferenceSession(BAD / "cases" / case["file"], options), feed, code, **limits)
    # No benchmark: a run that takes no heed of its limit would take for ever.
    assert time.monotonic() - started < 120
