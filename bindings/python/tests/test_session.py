"""The Python binding on our own models and on small graphs made here."""
import pathlib
import re
import threading

import numpy as np
import pytest

import apus

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODELS = ROOT / "Examples" / "models"
NETWORKS = sorted(path.stem for path in MODELS.glob("*.onnx"))
SHARED = ROOT.parent / "shared" / "models"


def images(count=4):
    return np.random.default_rng(1).random((count, 1, 8, 8), np.float32)


def open_digits(name="digits_cnn", **settings):
    return apus.InferenceSession(MODELS / f"{name}.onnx", apus.SessionOptions(**settings))


def run_digits(session, batch):
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def test_version():
    assert apus.__version__.count(".") == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_digits_equal_onnxruntime(name):
    ort = pytest.importorskip("onnxruntime")
    reference = ort.InferenceSession(str(MODELS / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    want = reference.run(None, {reference.get_inputs()[0].name: images()})[0]
    got = run_digits(open_digits(name), images())
    assert got.dtype == want.dtype and got.shape == want.shape
    # The quantised network may round one step differently.
    tolerance = 2e-2 if "int8" in name else 1e-5
    np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_levels_threads_and_kernels_agree(name):
    want = run_digits(open_digits(name, graph_optimization_level=0, intra_op_num_threads=1, cpu="generic"), images())
    for level in (0, 1, 2, 99):
        for threads in (1, 2):
            for cpu in ("generic", "avx2", "avx512vnni"):
                session = open_digits(name, graph_optimization_level=level, intra_op_num_threads=threads, cpu=cpu)
                np.testing.assert_allclose(run_digits(session, images()), want, atol=1e-5 * np.abs(want).max())


def test_metadata():
    session = open_digits()
    argument = session.get_inputs()[0]
    assert argument.type == "tensor(float)"
    assert argument.shape[1:] == [1, 8, 8] and isinstance(argument.shape[0], str)
    assert len(session.get_outputs()) == 1


def test_bytes_and_outputs_that_outlive_the_session():
    session = apus.InferenceSession((MODELS / "digits_cnn.onnx").read_bytes())
    got = run_digits(session, images())
    copy = got.copy()
    session.close()
    del session
    np.testing.assert_array_equal(got, copy)


def test_given_outputs():
    session = open_digits()
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    target = np.zeros((4, 10), np.float32)
    result = session.run([output], {name: images()}, outputs={output: target})
    assert result[0] is target
    np.testing.assert_array_equal(target, run_digits(session, images()))


def test_strided_input_is_taken():
    session = open_digits()
    wide = np.repeat(images(), 2, axis=3)
    np.testing.assert_array_equal(run_digits(session, wide[..., ::2]), run_digits(session, images()))


def test_threads_share_a_session():
    session = open_digits()
    want = run_digits(session, images())
    failures = []

    def work():
        for _ in range(50):
            if not np.array_equal(run_digits(session, images()), want):
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert not failures


def test_errors_have_families_and_say_what_was_expected():
    session = open_digits()
    name = session.get_inputs()[0].name
    with pytest.raises(apus.InvalidArgument, match="no input 'x9'"):
        session.run(None, {"x9": images()})
    with pytest.raises(apus.InvalidArgument, match=r"shape"):
        session.run(None, {name: images()[:, :, :7]})
    with pytest.raises(apus.InvalidArgument, match="float"):
        session.run(None, {name: images().astype(np.float64)})
    with pytest.raises(apus.InvalidArgument, match="missing"):
        session.run(None, {})
    with pytest.raises(apus.InvalidModel):
        apus.InferenceSession(b"no model")
    with pytest.raises(apus.InvalidModel):
        apus.InferenceSession("no/such/file.onnx")
    with pytest.raises(apus.InvalidArgument, match="z80"):
        open_digits(cpu="z80")


def test_cancel_and_time_limit():
    session = open_digits()
    feed = {session.get_inputs()[0].name: images()}
    options = apus.RunOptions()
    options.cancel()
    with pytest.raises(apus.Interrupted):
        session.run(None, feed, options)
    options.reset()
    assert session.run(None, feed, options)
    with pytest.raises(apus.Interrupted):
        session.run(None, feed, apus.RunOptions(time_limit=0))


def test_memory_limit():
    with pytest.raises(apus.MemoryLimit):
        session = open_digits(memory_limit=1000)
        run_digits(session, images())


def test_closed_session_says_so():
    session = open_digits()
    session.close()
    with pytest.raises(ValueError, match="closed"):
        run_digits(session, images())


def test_every_function_of_the_header_is_declared():
    """By name and number of parameters, as include/apus.h has them."""
    from apus._library import FUNCTIONS

    text = re.sub(r"//[^\n]*", "", (ROOT / "include" / "apus.h").read_text())
    declared = {}
    for name, parameters in re.findall(r"\bAPUS_API\b[^;{}()]*?\b(apus_\w+)\s*\(([^)]*)\)\s*;", text):
        declared[name] = 0 if parameters.strip() == "void" else parameters.count(",") + 1
    assert declared
    assert {name: len(parameters) for name, (_, parameters) in FUNCTIONS.items()} == declared
