#!/usr/bin/env python3
"""Trains the digit classifiers in Examples/models and draws the pictures in Examples/images.

The data is scikit-learn's bundled set of 1,797 hand-written digits, 8x8 grey pictures with values 0..16, which here
become 0..1. Three networks are trained on the same 1,347 pictures and judged on the 450 others:

    digits_cnn          three convolutions, one pooling, one dense layer
    digits_lstm         an LSTM that reads the eight rows of the picture from top to bottom
    digits_transformer  two encoder layers over the eight rows

and the first is quantised to 8 bits (digits_cnn_int8: static, QDQ, per channel). All take `image`, float32 of shape
(batch, 1, 8, 8), and give `probabilities`, float32 of shape (batch, 10): what `apus run` feeds from a PNG file.

    pip install -r requirements.txt && ./train_digits.py

Seeds are fixed and one thread is used, so the same versions on the same kind of machine give the same files.
"""

import argparse
import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20261123
OPSET = 18
EXAMPLES = pathlib.Path(__file__).resolve().parent.parent


class CNN(nn.Module):
    """(N, 1, 8, 8) -> (N, 10) scores; batch normalisation is folded into the convolutions by the export."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(24 * 4 * 4, 10))

    def forward(self, image):
        return self.body(image)


class LSTM(nn.Module):
    """Reads the rows as a sequence of eight vectors of eight; the last hidden state decides."""

    def __init__(self, hidden=48):
        super().__init__()
        self.lstm = nn.LSTM(8, hidden, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(hidden, 10))

    def forward(self, image):
        states, _ = self.lstm(image.squeeze(1))
        return self.head(states[:, -1])


class Attention(nn.Module):
    """Multi-head self-attention over (N, tokens, width), written out so that the export holds plain operators."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        _, tokens, width = x.shape
        split = self.qkv(x).reshape(-1, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(-1, tokens, width))


class EncoderLayer(nn.Module):
    """Pre-norm encoder layer with a GELU feed-forward."""

    def __init__(self, width, heads, inner):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.feed(self.norm2(x)))


class Transformer(nn.Module):
    """Each row of the picture is a token; the mean over the tokens decides."""

    def __init__(self, width=32, heads=4, inner=64, layers=2):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(1, 8, width) * 0.1)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads, inner) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, image):
        x = self.layers(self.embed(image.squeeze(1)) + self.position)
        return self.head(self.norm(x).mean(dim=1))


class WithSoftmax(nn.Module):
    """What is exported: the trained network, its scores turned into probabilities."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return torch.softmax(self.net(image), dim=-1)


def shifted(images, generator):
    """The pictures moved by up to one pixel and given some noise, as a cheap augmentation."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (2,), generator=generator)
    moved = padded[:, :, moves[0]:moves[0] + 8, moves[1]:moves[1] + 8]
    return (moved + 0.04 * torch.randn(moved.shape, generator=generator)).clamp(0, 1)


def train(net, images, labels, epochs, rate):
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=generator).split(64):
            loss = nn.functional.cross_entropy(
                net(shifted(images[batch], generator)), labels[batch], label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return net.eval()


def export(net, path):
    """Writes `net` with a dynamic batch dimension and every weight inside the file."""
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        WithSoftmax(net).eval(), (torch.zeros(2, 1, 8, 8),), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=["image"], output_names=["probabilities"], dynamic_shapes=({0: batch},))
    model = program.model_proto
    tidy(model, path.stem)
    onnx.save(model, path)


def tidy(model, name):
    """Drops what only the exporter's debugger reads (stack traces, paths of this machine), names the model."""
    model.graph.name = name
    model.doc_string = "Hand-written digits, 8x8 grey; see Examples/train/train_digits.py"
    model.ClearField("metadata_props")
    for value in list(model.graph.input) + list(model.graph.output) + list(model.graph.value_info):
        value.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)


class Calibration(CalibrationDataReader):
    """Feeds the training pictures to the quantiser in batches of 64."""

    def __init__(self, images):
        self.batches = iter([images[i:i + 64] for i in range(0, len(images), 64)])

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def quantise(source, target, images):
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared))
        quantize_static(
            str(prepared), str(target), Calibration(images), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=[n.name for n in onnx.load(prepared).graph.node if n.op_type == "Softmax"])
    model = onnx.load(target)
    tidy(model, target.stem)
    onnx.save(model, target)


def accuracy(path, images, labels):
    """Share of right answers and the probabilities, by onnxruntime without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": images})
    return float((probabilities.argmax(1) == labels).mean()), probabilities


def draw(images, labels, answers, folder):
    """Two pictures of each digit: 8x8 as it is, and enlarged to 64x64 as a scanner might have seen it.

    Of the held-out pictures, the first of each digit that every network reads right.
    """
    read_right = np.all([answer == labels for answer in answers], axis=0)
    for digit in range(10):
        first = np.flatnonzero((labels == digit) & read_right)[0]
        grey = Image.fromarray(np.rint(images[first, 0] * 255).astype(np.uint8))
        grey.save(folder / f"digit_{digit}.png", optimize=True)
        grey.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"digit_{digit}_64.png", optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=EXAMPLES, help="folder that gets models/ and images/")
    out = parser.parse_args().out
    models, pictures = out / "models", out / "images"
    models.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    x, xt, y, yt = train_test_split(images, digits.target, test_size=0.25, random_state=SEED, stratify=digits.target)

    plan = {"cnn": (CNN, 60, 4e-3), "lstm": (LSTM, 120, 8e-3), "transformer": (Transformer, 120, 3e-3)}
    for name, (make, epochs, rate) in plan.items():
        torch.manual_seed(SEED)
        net = train(make(), torch.from_numpy(x), torch.from_numpy(y), epochs, rate)
        export(net, models / f"digits_{name}.onnx")
    quantise(models / "digits_cnn.onnx", models / "digits_cnn_int8.onnx", x)

    rows, expected = [], {}
    for name in ("digits_cnn", "digits_cnn_int8", "digits_lstm", "digits_transformer"):
        path = models / f"{name}.onnx"
        share, expected[name] = accuracy(path, xt, yt)
        rows.append(f"| `{name}.onnx` | {path.stat().st_size / 1000:.0f} kB | {100 * share:.2f} % |")
    np.savez_compressed(models / "digits_test.npz", image=np.rint(xt * 16).astype(np.uint8), label=yt.astype(np.uint8))
    first = slice(0, 32)
    np.savez_compressed(models / "inputs.npz", image=xt[first])
    for name, probabilities in expected.items():
        np.savez_compressed(models / f"{name}_expected.npz", probabilities=probabilities[first])
    (models / "digits_labels.txt").write_text("".join(f"{word}\n" for word in (
        "zero one two three four five six seven eight nine".split())))
    draw(xt, yt, [probabilities.argmax(1) for probabilities in expected.values()], pictures)

    (models / "README.md").write_text(f"""# Digit classifiers

Written by `Examples/train/train_digits.py` from scikit-learn's bundled digits (UCI "Optical Recognition of Handwritten
Digits", CC BY 4.0). Input `image`: float32 (batch, 1, 8, 8), 0 = paper, 1 = ink. Output `probabilities`: float32
(batch, 10). Opset {OPSET}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}.

| file | size | right on the {len(yt)} held-out pictures (ONNX Runtime, unoptimised) |
|---|---|---|
{chr(10).join(rows)}

`digits_test.npz` holds the held-out pictures (`image`, uint8 0..16, divide by 16) and their labels (`label`);
`inputs.npz` and `*_expected.npz` hold the first 32 of them and what ONNX Runtime answers, as `apus compare` reads them;
`digits_labels.txt` names the classes.
""")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
