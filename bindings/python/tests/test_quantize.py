"""apus.quantize(): the result runs in Apus and, where it is installed, in onnxruntime, and is compared with what onnxruntime's own
quantiser makes of the same model and data."""
import os
import pathlib

import numpy as np
import pytest

import apus

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODELS = ROOT / "Examples" / "models"
SHARED = ROOT.parent / "shared" / "models"


def digits():
    test = np.load(MODELS / "digits_test.npz")
    images, labels = (test["image"] / 16).astype(np.float32), test["label"].astype(np.int64)
    steps = range(0, len(images), 45)
    return [{"image": images[i:i + 45]} for i in steps], [labels[i:i + 45] for i in steps]


def enlarged(images):
    """Pictures of 8 x 8 pixels from 0 to 1 as 28 x 28 of more contrast, the digit in the middle 20 x 20 as in MNIST."""
    places = np.clip((np.arange(20) + 0.5) * 8 / 20 - 0.5, 0, 7)
    low = places.astype(int)
    high, share = np.minimum(low + 1, 7), (places - low).astype(np.float32)
    rows = images[..., low, :] * (1 - share[:, None]) + images[..., high, :] * share[:, None]
    digits = rows[..., low] * (1 - share) + rows[..., high] * share
    return np.pad(np.clip((digits - 0.4) * 3, 0, 1), ((0, 0), (0, 0), (4, 4), (4, 4)))


# Classifiers of ../shared/models for single pictures of MNIST's kind: their input's name and what they want it to be.
MNIST = {
    "mnist_cnn_op8": ("Input3", lambda picture: picture * 255),
    "mnist_dynamo_op18": ("input", lambda picture: (picture - 0.1307) / 0.3081),
}


def labelled(name):
    """Digits for an example network or for one of MNIST: feeds and the labels of each."""
    feeds, labels = digits()
    if name not in MNIST:
        return feeds, labels
    key, prepare = MNIST[name]
    pictures = enlarged(np.concatenate([feed["image"] for feed in feeds]))
    return [{key: prepare(picture[None]).astype(np.float32)} for picture in pictures], list(np.concatenate(labels)[:, None])


def shared(name):
    """Every recorded input of a model, and none labelled."""
    files = sorted((SHARED / name).glob("inputs*.npz"))
    return [dict(np.load(file)) for file in files]


def outputs(session, feeds):
    return [session.run(None, feed) for feed in feeds]


def relative_error(reference, found):
    """Of the worst output: root mean square of the difference over that of the reference."""
    worst = 0.0
    for position, first in enumerate(reference[0]):
        if first.dtype == np.float32:
            pairs = [(a[position].astype(np.float64), b[position]) for a, b in zip(reference, found)]
            square = sum((a ** 2).sum() for a, _ in pairs)
            worst = max(worst, (sum(((a - b) ** 2).sum() for a, b in pairs) / square) ** 0.5)
    return worst


def accuracy(results, labels):
    return np.mean(np.concatenate([result[0].argmax(-1) for result in results]) == np.concatenate(labels))


METHODS = {
    "static": {}, "static-s8": {"activation_type": "int8"}, "entropy": {"calibration": "entropy"}, "bias": {"correct_bias": True},
    "dynamic": {"method": "dynamic"}, "int8": {"method": "weights"},
    "int4": {"method": "weights", "weight_type": "int4", "block_size": 16},
    "int4-zero-points": {"method": "weights", "weight_type": "int4", "block_size": 32, "zero_points": True},
}


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("network", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_runs_in_both_with_the_accuracy_of_the_report(network, options, tmp_path):
    feeds, labels = digits()
    path = tmp_path / "q.onnx"
    model, report = apus.quantize(MODELS / f"{network}.onnx", path, calibrate=feeds, labels=labels, **options)
    before, after = report["before"]["accuracy"], report["after"]["accuracy"]
    assert after >= before - (0.03 if options.get("weight_type") == "int4" else 0.01)
    from_memory = outputs(apus.InferenceSession(model), feeds)
    from_file = outputs(apus.InferenceSession(path), feeds)
    for a, b in zip(from_memory, from_file):
        np.testing.assert_array_equal(a[0], b[0])
    assert accuracy(from_file, labels) == pytest.approx(after)
    ort = pytest.importorskip("onnxruntime")
    elsewhere = outputs(ort.InferenceSession(path, providers=["CPUExecutionProvider"]), feeds)
    assert accuracy(elsewhere, labels) == pytest.approx(after, abs=0.0045)
    assert relative_error(from_file, elsewhere) < 0.02


@pytest.mark.parametrize("network", ["digits_cnn", "digits_lstm", "digits_transformer", *MNIST, "ultraface_rfb320_op9"])
def test_no_worse_than_onnxruntimes_quantiser(network, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    quantization = pytest.importorskip("onnxruntime.quantization")
    source = MODELS / f"{network}.onnx"
    if not source.exists():
        source = SHARED / network / "model.onnx"
        if not source.exists():
            pytest.skip("no ../shared/models")
    feeds, labels = (shared(network), None) if network.startswith("ultraface") else labelled(network)

    class Reader(quantization.CalibrationDataReader):
        rest = iter(feeds)

        def get_next(self):
            return next(self.rest, None)

    theirs = tmp_path / "theirs.onnx"
    prepared = source
    onnx = pytest.importorskip("onnx")
    if any(used.version < 13 for used in onnx.load(source).opset_import if used.domain in ("", "ai.onnx")):
        # Their quantiser wants weights per channel to be written for version 13 at least.
        prepared = tmp_path / "prepared.onnx"
        converted = onnx.version_converter.convert_version(onnx.load(source), 13)
        onnx.save(converted, prepared)
    quantization.quantize_static(
        str(prepared), str(theirs), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8)
    ours = tmp_path / "ours.onnx"
    apus.quantize(source, ours, calibrate=feeds)
    run = lambda path: outputs(ort.InferenceSession(path, providers=["CPUExecutionProvider"]), feeds)
    reference, a, b = run(source), run(ours), run(theirs)
    print(f"{network}: relative error {relative_error(reference, a):.4f}, onnxruntime's quantiser {relative_error(reference, b):.4f}")
    assert relative_error(reference, a) <= 1.1 * relative_error(reference, b) + 0.002
    if labels:
        right = [accuracy(results, labels) for results in (reference, a, b)]
        print(f"{network}: right answers {right[0]:.2%}, quantised by Apus {right[1]:.2%}, by onnxruntime {right[2]:.2%}")
        # A network that is wrong about half of these pictures holds many of them for nearly anything else.
        assert right[1] >= right[2] - (0.0045 if right[0] > 0.9 else 0.02)
    print(f"{network}: {os.path.getsize(ours)} bytes, onnxruntime's {os.path.getsize(theirs)}")
    assert os.path.getsize(ours) <= 1.02 * os.path.getsize(theirs)


def test_leaves_layers_in_float_for_a_largest_drop():
    feeds, _ = digits()
    stages = []
    _, all_of_it = apus.quantize(MODELS / "digits_transformer.onnx", calibrate=feeds[:3])
    loss = all_of_it["after"]["relative_error"]
    _, report = apus.quantize(
        MODELS / "digits_transformer.onnx", calibrate=feeds[:3], max_drop=loss * 0.8, progress=lambda *stage: stages.append(stage))
    assert report["after"]["relative_error"] <= loss * 0.8
    assert any(not layer["quantized"] for layer in report["layers"])
    assert stages[-1][1] == 1.0 and all(0 <= share <= 1 for _, share in stages)


def test_says_what_is_wrong(tmp_path):
    cnn, (feeds, labels) = MODELS / "digits_cnn.onnx", digits()
    with pytest.raises(apus.InvalidArgument, match="needs calibration data"):
        apus.quantize(cnn)
    with pytest.raises(apus.InvalidArgument, match="no input 'picture'"):
        apus.quantize(cnn, calibrate=[{"picture": feeds[0]["image"]}])
    with pytest.raises(apus.InvalidArgument, match="'image' is tensor|\"image\" is tensor"):
        apus.quantize(cnn, calibrate=[{"image": feeds[0]["image"].astype(np.float64)}])
    with pytest.raises(apus.InvalidArgument, match="already"):
        apus.quantize(MODELS / "digits_cnn_int8.onnx", calibrate=feeds)
    with pytest.raises(apus.RuntimeFailure, match="NaN"):
        apus.quantize(cnn, calibrate=[{"image": np.full((1, 1, 8, 8), np.nan, np.float32)}])
    with pytest.raises(apus.InvalidArgument, match="method must be"):
        apus.quantize(cnn, method="magic")
    with pytest.raises(apus.InvalidArgument, match="arrays of labels"):
        apus.quantize(cnn, calibrate=feeds, labels=labels[:2])
    with pytest.raises(apus.InvalidArgument, match="calibrate"):
        apus.quantize(cnn, method="dynamic", labels=labels)
    with pytest.raises(apus.InvalidArgument, match="Cnov"):
        apus.quantize(cnn, calibrate=feeds, exclude="Cnov")
    with pytest.raises(apus.InvalidModel):
        apus.quantize(cnn, tmp_path / "no" / "folder.onnx", calibrate=feeds)
