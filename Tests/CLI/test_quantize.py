"""apus quantize as a user meets it."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "Examples" / "models"
SHARED = ROOT.parent / "shared" / "models"
CLI = os.environ.get("APUS_CLI") or shutil.which("apus")

pytestmark = pytest.mark.skipif(CLI is None, reason="no apus: set APUS_CLI")


def apus(*arguments, status=0):
    """Standard output of the program, or what it complains of where `status`, the exit status it must have, is not 0."""
    done = subprocess.run([CLI, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr if status else done.stdout


def model(name):
    return MODELS / f"{name}.onnx"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    test = np.load(MODELS / "digits_test.npz")
    np.savez(path, image=(test["image"] / 16).astype(np.float32), label=test["label"])
    return path


@pytest.mark.parametrize("network", ["digits_cnn", "digits_lstm", "digits_transformer"])
@pytest.mark.parametrize("options", [[], ["--activations", "s8"], ["--calibration", "percentile"], ["--per-tensor"]], ids=str)
def test_static_keeps_accuracy(network, options, digits, tmp_path):
    out = tmp_path / "q.onnx"
    report = json.loads(apus("quantize", model(network), "-o", out, "--calibrate", digits, "--json", *options))
    assert report["before"]["accuracy"] >= 0.98
    assert report["after"]["accuracy"] >= report["before"]["accuracy"] - 0.01
    assert report["bytes_after"] <= report["bytes_before"]
    assert all(layer["quantized"] for layer in report["layers"])
    images = np.load(digits)["image"]
    np.savez(tmp_path / "images.npz", image=images)
    apus("run", out, "-i", tmp_path / "images.npz", "-o", tmp_path / "y.npy")
    right = (np.load(tmp_path / "y.npy").argmax(-1) == np.load(digits)["label"]).mean()
    assert right == pytest.approx(report["after"]["accuracy"])


@pytest.mark.parametrize("network", ["digits_cnn", "digits_lstm", "digits_transformer"])
@pytest.mark.parametrize("options", [
    ["--dynamic"], ["--weights", "int8"], ["--weights", "int8", "--block", "32"], ["--weights", "int4", "--block", "16"],
    ["--weights", "int4", "--block", "16", "--zero-points"]], ids=str)
def test_other_methods_keep_accuracy(network, options, digits, tmp_path):
    out = tmp_path / "q.onnx"
    report = json.loads(apus("quantize", model(network), "-o", out, "--calibrate", digits, "--json", *options))
    assert report["after"]["accuracy"] >= report["before"]["accuracy"] - (0.03 if "int4" in options else 0.01)
    assert report["bytes_after"] < report["bytes_before"]
    # The data judge the result; it is the same without them.
    apus("quantize", model(network), "-o", tmp_path / "blind.onnx", *options)
    assert (tmp_path / "blind.onnx").read_bytes() == out.read_bytes()


def test_keeps_to_a_largest_drop(digits, tmp_path):
    images = np.load(digits)["image"]
    np.savez(tmp_path / "images.npz", image=images)
    run = lambda *a: json.loads(apus(
        "quantize", model("digits_transformer"), "-o", tmp_path / "q.onnx", "--calibrate", tmp_path / "images.npz", "--json", *a))
    loss = run()["after"]["relative_error"]
    report = run("--max-drop", loss * 0.8)
    assert report["after"]["relative_error"] <= loss * 0.8
    left = [layer for layer in report["layers"] if not layer["quantized"]]
    assert 0 < len(left) < len(report["layers"]) / 2


def test_says_what_came_of_it(digits, tmp_path):
    text = apus("quantize", model("digits_cnn"), "-o", tmp_path / "q.onnx", "--calibrate", digits)
    assert "right answers" in text and "smaller" in text and "4 of 4 layers quantised" in text


def test_the_report_is_a_page_of_its_own(digits, tmp_path):
    page = tmp_path / "report.html"
    apus("quantize", model("digits_cnn"), "-o", tmp_path / "q.onnx", "--calibrate", digits, "--report", page)
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>") and text.count("<svg") >= 2 and text.count("<rect") > 40
    assert "right answers" in text and "node_Conv_25" in text
    assert not any(outside in text for outside in ("http:", "https:", "src=", "<script", "@import"))


def test_a_directory_of_pictures(tmp_path):
    text = apus("quantize", model("digits_cnn"), "-o", tmp_path / "q.onnx", "--calibrate", MODELS.parent / "images", "--size", "8")
    assert "4 of 4 layers quantised" in text


def test_excludes_and_includes(digits, tmp_path):
    run = lambda *a: json.loads(apus("quantize", model("digits_cnn"), "-o", tmp_path / "q.onnx", "--calibrate", digits, "--json", *a))
    named = lambda report: [layer["operator"] for layer in report["layers"] if layer["quantized"]]
    assert named(run("--exclude", "Conv")) == ["Gemm"]
    assert named(run("--include", "Conv")) == ["Conv"] * 3
    assert len(named(run("--exclude", run()["layers"][0]["name"]))) == 3


def test_usual_mistakes(digits, tmp_path):
    out = tmp_path / "q.onnx"
    assert "--calibrate" in apus("quantize", model("digits_cnn"), "-o", out, status=2)
    for options in (["--dynamic", "--weights", "int8"], ["--dynamic", "--block", "16"], ["--weights", "int4", "--max-drop", "0.1"]):
        apus("quantize", model("digits_cnn"), "-o", out, *options, status=2)
    assert "at least 16" in apus("quantize", model("digits_cnn"), "-o", out, "--weights", "int4", "--block", "7", status=4)
    np.savez(tmp_path / "wrong.npz", picture=np.zeros((4, 1, 8, 8), np.float32))
    assert "'picture' is no input of the model" in apus(
        "quantize", model("digits_cnn"), "-o", out, "--calibrate", tmp_path / "wrong.npz", status=5)
    np.savez(tmp_path / "type.npz", image=np.zeros((4, 1, 8, 8), np.uint8))
    assert "the model takes float32" in apus("quantize", model("digits_cnn"), "-o", out, "--calibrate", tmp_path / "type.npz", status=5)
    np.savez(tmp_path / "nan.npz", image=np.full((4, 1, 8, 8), np.nan, np.float32))
    assert "NaN" in apus("quantize", model("digits_cnn"), "-o", out, "--calibrate", tmp_path / "nan.npz", status=4)
    np.savez(tmp_path / "labels.npz", image=np.zeros((4, 1, 8, 8), np.float32), label=np.zeros(3, np.int64))
    assert "3 labels" in apus("quantize", model("digits_cnn"), "-o", out, "--calibrate", tmp_path / "labels.npz", status=5)
    assert "quantised already" in apus("quantize", model("digits_cnn_int8"), "-o", out, "--calibrate", digits, status=4)
    assert "Cnov" in apus("quantize", model("digits_cnn"), "-o", out, "--calibrate", digits, "--exclude", "Cnov", status=4)
    assert not out.exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models")
@pytest.mark.parametrize("name", ["mnist_cnn_op8", "ultraface_rfb320_op9", "super_resolution_op10", "magika_v3_3_op15"])
def test_models_of_others(name, tmp_path):
    """Old operator sets, weights as inputs with defaults, int32 inputs."""
    report = json.loads(apus(
        "quantize", SHARED / name / "model.onnx", "-o", tmp_path / "q.onnx", "--calibrate", SHARED / name / "inputs.npz", "--json"))
    assert report["after"]["relative_error"] < 0.08
    assert all(layer["quantized"] for layer in report["layers"])
    assert (tmp_path / "q.onnx").stat().st_size < (SHARED / name / "model.onnx").stat().st_size * 0.6
