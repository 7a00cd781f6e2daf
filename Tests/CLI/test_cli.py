"""The command line as a user meets it: the release program on real models and files, judged by what numpy reads."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "Examples"
MODELS = EXAMPLES / "models"
NETWORKS = ["digits_cnn", "digits_cnn_int8", "digits_lstm", "digits_transformer"]
SHARED = ROOT.parent / "shared" / "models"
ZOO = os.environ.get("APUS_ZOO")
CLI = os.environ.get("APUS_CLI") or shutil.which("apus")

pytestmark = pytest.mark.skipif(CLI is None, reason="no apus: set APUS_CLI")


def apus(*arguments, status=0, **environment):
    """Runs the program and returns its standard output; `status` is the exit status it must have."""
    done = subprocess.run(
        [CLI, *map(str, arguments)], capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    if status:
        assert done.stderr.strip(), "a failure without a word"
    return done.stdout if status == 0 else done.stdout + done.stderr


def model(name):
    return MODELS / f"{name}.onnx"


# ---- run


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("digit", range(10))
def test_reads_pictures(network, digit):
    """Every example picture, as it is; the labels name the classes."""
    text = apus("run", model(network), "--input", EXAMPLES / "images" / f"digit_{digit}.png", "--top", 2,
                "--labels", MODELS / "digits_labels.txt")
    assert text.split()[0] == "zero one two three four five six seven eight nine".split()[digit]


def test_resizes_pictures(tmp_path):
    for digit in range(10):
        out = tmp_path / "out.npy"
        apus("run", model("digits_lstm"), "-i", EXAMPLES / "images" / f"digit_{digit}_64.png", "-o", out)
        assert np.load(out).argmax() == digit


def test_reads_jpeg(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    for digit in range(10):
        pillow.open(EXAMPLES / "images" / f"digit_{digit}_64.png").save(tmp_path / "digit.jpg", quality=90)
        assert apus("run", model("digits_cnn"), "-i", tmp_path / "digit.jpg", "--top", 1).split()[0] == str(digit)


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_in_every_format(network, tmp_path):
    images = np.load(MODELS / "inputs.npz")["image"]
    expected = np.load(MODELS / f"{network}_expected.npz")["probabilities"]
    close = dict(rtol=0, atol=2e-2 if network.endswith("int8") else 1e-5)
    for out in ("out.npz", "out.npy", "out.json", "folder"):
        assert apus("run", model(network), "--input", MODELS / "inputs.npz", "--output", tmp_path / out) == ""
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["probabilities"], expected, **close)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, **close)
    np.testing.assert_allclose(np.load(tmp_path / "folder" / "probabilities.npy"), expected, **close)
    tensor = json.loads((tmp_path / "out.json").read_text())["probabilities"]
    assert tensor["type"] == "float32" and tensor["shape"] == [len(images), 10]
    np.testing.assert_allclose(np.array(tensor["data"]), expected, **close)


def test_inputs_written_by_numpy(tmp_path):
    """Column-major, big-endian and compressed arrays mean the same."""
    images = np.load(MODELS / "inputs.npz")["image"][:3]
    reference = None
    variants = {"c": images, "fortran": np.asfortranarray(images), "big": images.astype(">f4")}
    for name, array in variants.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.savez(tmp_path / f"{name}.npz", image=array)
        np.savez_compressed(tmp_path / f"{name}z.npz", image=array)
        for file in (f"{name}.npy", f"{name}.npz", f"{name}z.npz"):
            out = json.loads(apus("run", model("digits_cnn"), "-i", f"image={tmp_path / file}", "--json"))
            reference = reference or out
            assert out == reference


def test_generated_inputs():
    run = lambda *a: json.loads(apus("run", model("digits_cnn"), *a, "--json"))["probabilities"]
    assert run("-i", "random:1") == run("-i", "random:1") != run("-i", "random:2")
    assert run("-i", "image=zeros", "--dim", "batch=3")["shape"] == [3, 10]
    assert run("-i", f"json:{[[[[0.5] * 8] * 8]]}") == run("-i", "fill:0.5")


def test_results_do_not_depend_on_how_they_are_computed():
    outs = [apus("run", model("digits_transformer"), "-i", "random:3", "--json", *options, **environment)
            for options, environment in (([], {}), (["--threads", "1"], {}), (["--threads", "2"], {}))]
    assert len(set(outs)) == 1
    values = [np.array(json.loads(apus("run", model("digits_transformer"), "-i", "random:3", "--json", *options, **environment))
                       ["probabilities"]["data"])
              for options, environment in (([], {}), (["-O", "none"], {}), (["--cpu", "generic"], {}), ([], {"APUS_CPU": "avx2"}))]
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], atol=1e-6)


# ---- exit statuses


def test_exit_statuses(tmp_path):
    cnn, picture = model("digits_cnn"), EXAMPLES / "images" / "digit_1.png"
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07not a model")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:60])
    np.save(tmp_path / "wrong.npy", np.zeros((1, 1, 9, 8), np.float32))
    np.save(tmp_path / "int.npy", np.zeros((1, 1, 8, 8), np.int32))
    apus(status=0)
    apus("run", status=2)
    apus("run", cnn, status=2)
    apus("nonsense", status=2)
    apus("run", cnn, "-i", picture, "--top", 0, status=2)
    apus("run", cnn, "-i", "nowhere=zeros", status=2)
    apus("run", cnn, "-i", picture, "--cpu", "pentium", status=2)
    apus("run", cnn, "-i", tmp_path / "int.npy", status=2)
    assert "NoOpRemoval" in apus("run", cnn, "-i", picture, "--without", "no such pass", status=2)
    apus("run", tmp_path / "nowhere.onnx", "-i", picture, status=3)
    apus("run", tmp_path / "bad.onnx", "-i", picture, status=3)
    apus("inspect", tmp_path / "bad.onnx", status=3)
    apus("run", cnn, "-i", tmp_path / "wrong.npy", status=4)
    apus("run", cnn, "-i", "zeros", "--dim", "batch=4000", "--memory-limit", "300k", status=4)
    apus("run", cnn, "-i", tmp_path / "nowhere.npy", status=5)
    apus("run", cnn, "-i", tmp_path / "bad.npy", status=5)
    apus("run", cnn, "-i", tmp_path / "bad.png", status=5)
    apus("run", cnn, "-i", picture, "--top", 1, "--labels", tmp_path / "nowhere.txt", status=5)
    apus("run", cnn, "-i", picture, "-o", tmp_path / "nowhere" / "out.npz", status=5)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("command", ["run", "inspect", "bench", "compare", "kernels"])
def test_help(command):
    assert all(len(line) <= 80 for line in apus(command, "--help").split("USAGE")[0].splitlines())
    assert "OVERVIEW" in apus(command, "--help")
    assert command in apus("--help")


def test_version():
    header = subprocess.run([sys.executable, ROOT / "bindings" / "c" / "exported-names.py", "--version"],
                            check=True, capture_output=True, text=True)
    assert apus("--version") == header.stdout


# ---- inspect, bench, compare, kernels


@pytest.mark.parametrize("network", NETWORKS)
def test_inspect(network):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(model(network)).graph
    report = json.loads(apus("inspect", model(network), "--json"))
    assert report["nodes"] == len(graph.node)
    assert sum(report["operators"].values()) == len(graph.node)
    assert report["parameters"]["elements"] == sum(int(np.prod(t.dims)) for t in graph.initializer)
    assert report["inputs"] == [{"name": "image", "type": "tensor(float)", "shape": ["batch", 1, 8, 8]}]
    assert report["opsets"]["ai.onnx"] == 18
    assert "image" in apus("inspect", model(network))


def test_inspect_counts_work():
    """Three convolutions and one product, by hand."""
    macs = 64 * 12 * 9 + 64 * 24 * 12 * 9 + 16 * 24 * 24 * 9 + 10 * 384
    for batch in (1, 5):
        report = json.loads(apus("inspect", model("digits_cnn"), "--json", "--dim", f"batch={batch}"))["run"]
        assert report["multiply_accumulates"] == batch * macs
        assert report["is_complete"] and report["arena_bytes"] > 0


@pytest.mark.parametrize("stage", ["load", "inline", "infer", "optimize"])
def test_inspect_after(stage):
    text = apus("inspect", model("digits_cnn"), "--after", stage)
    assert text.startswith("graph ") and "Conv" in text
    assert text == apus("inspect", model("digits_cnn"), "--after", stage)


QUANTISED = [MODELS / "digits_cnn_int8.onnx", SHARED / "micro_kws_qdq_op15" / "model.onnx"]
if ZOO:
    QUANTISED += sorted(pathlib.Path(ZOO).glob("*_qdq/model.onnx"))


@pytest.mark.parametrize("path", QUANTISED, ids=lambda path: path.stem if path.stem != "model" else path.parent.name)
def test_quantised_graphs_convert_at_their_edges_only(path):
    """Numbers are quantised where floats enter and dequantised where they leave: no way leads from a DequantizeLinear to a
    QuantizeLinear. With APUS_ZOO set to a folder of models, all that end in _qdq are asked, too."""
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    text = apus("inspect", path, "--after", "optimize")
    value, floats, conversions = r'"[^"]*"|%\d+', set(), 0
    for results, operator, arguments in re.findall(r"^  (\S.*?) = ([\w.]+)\((.*?)\)(?: \{.*)?(?: //.*)?$", text, re.M):
        arguments = re.findall(value, arguments)
        is_float = operator.endswith("DequantizeLinear") or any(name in floats for name in arguments)
        assert not (operator.endswith(".QuantizeLinear") or operator == "QuantizeLinear") or arguments[0] not in floats, results
        conversions += operator.endswith("QuantizeLinear") or operator.endswith("DequantizeLinear")
        if is_float:
            floats.update(re.findall(value, results))
    assert floats and 1 <= conversions <= 4
    assert re.search("QLinearConv|QLinearMatMul|QGemm", text)


def test_inspect_says_which_pass_made_a_node():
    optimised = apus("inspect", model("digits_cnn"), "--after", "optimize")
    assert "ConvolutionActivation" in optimised and "Relu(" not in optimised
    without = apus("inspect", model("digits_cnn"), "--after", "optimize", "--without", "ConvolutionActivation")
    assert "ConvolutionActivation" not in without and "Relu(" in without


def test_trace_says_what_was_rewritten():
    done = subprocess.run([CLI, "inspect", model("digits_cnn"), "-v"], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "APUS_TRACE": "optimizer"})
    assert done.returncode == 0 and "ConvolutionActivation: applied" in done.stderr


def test_bench():
    report = json.loads(apus("bench", model("digits_cnn"), "--runs", 20, "--threads", 1, "--json", "--dim", "batch=2"))
    assert report["runs"] == 20 and report["threads"] == 1
    assert report["min_ms"] <= report["median_ms"] <= report["p90_ms"] <= report["p99_ms"] <= report["max_ms"]
    assert report["gflops"] > 0 and report["inputs"] == {"image": "float32[2, 1, 8, 8]"}
    assert "median" in apus("bench", model("digits_lstm"), "--seconds", 0.05)


def test_bench_profile():
    report = json.loads(apus("bench", model("digits_cnn"), "--runs", 5, "--threads", 1, "--json", "--profile"))
    assert report["steps"] and all(step["runs"] == 5 and step["median_ms"] >= step["min_ms"] >= 0 for step in report["steps"])
    assert any(step["multiply_accumulates"] > 0 and step["kernel"] for step in report["steps"])
    text = apus("bench", model("digits_lstm"), "--seconds", 0.05, "--profile")
    assert "operator and kernel" in text and "LSTM" in text


@pytest.mark.parametrize("network", NETWORKS)
def test_compare(network, tmp_path):
    files = ["--inputs", MODELS / "inputs.npz", "--expected"]
    expected = MODELS / f"{network}_expected.npz"
    loose = ["--atol", "0.02"] if network.endswith("int8") else []
    assert "ok" in apus("compare", model(network), *files, expected, *loose)
    wrong = np.load(expected)["probabilities"].copy()
    wrong[3, 7] += 0.25
    np.savez(tmp_path / "wrong.npz", probabilities=wrong)
    assert "[3, 7]" in apus("compare", model(network), *files, tmp_path / "wrong.npz", status=1)
    apus("compare", model(network), *files, tmp_path / "wrong.npz", "--atol", "probabilities=0.3")
    np.savez(tmp_path / "shape.npz", probabilities=wrong[:2])
    apus("compare", model(network), *files, tmp_path / "shape.npz", status=1)
    np.savez(tmp_path / "name.npz", other=wrong)
    apus("compare", model(network), *files, tmp_path / "name.npz", status=2)


def test_kernels():
    report = json.loads(apus("kernels", "--json"))
    assert "generic" in report["levels"] and "sgemm" in report["kernels"]
    generic = json.loads(apus("kernels", "--json", APUS_CPU="generic"))
    assert generic["used"] == ["generic"]
    assert all("generic" in family["chosen"] for family in generic["kernels"].values())
    apus("kernels", APUS_CPU="pentium", status=2)


# ---- models made by others


def shared_cases():
    if not (SHARED / "manifest.json").is_file():
        return []
    manifest = json.loads((SHARED / "manifest.json").read_text())
    return [(name, case) for name, entry in manifest.items() for case in entry["cases"]]


@pytest.mark.skipif(not shared_cases(), reason="shared/models is absent")
@pytest.mark.parametrize("name,case", shared_cases(), ids=lambda part: part if isinstance(part, str) else part["inputs"])
def test_shared_models(name, case):
    folder = SHARED / name
    tolerances = [part for output, bound in case["tol_abs"].items() for part in ("--atol", f"{output}={bound}")]
    for options in ([], ["-O", "none"], ["--threads", "1"], ["--cpu", "generic"]):
        apus("compare", folder / "model.onnx", "--inputs", folder / case["inputs"], "--expected", folder / case["outputs"],
             "--rtol", "0", *tolerances, *options)
