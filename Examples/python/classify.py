#!/usr/bin/env python3
"""Reads hand-written digits with a network from Examples/models, through the Python package.

    pip install ./bindings/python && Examples/python/classify.py [model.onnx]
"""

import pathlib
import sys

import apus
import numpy as np

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"


def main():
    session = apus.InferenceSession(sys.argv[1] if len(sys.argv) > 1 else str(MODELS / "digits_cnn_int8.onnx"))
    test = np.load(MODELS / "digits_test.npz")
    images = (test["image"] / np.float32(16)).astype(np.float32)
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: images})
    right = (probabilities.argmax(axis=1) == test["label"]).mean()
    print(f"apus {apus.__version__} reads {100 * right:.2f} % of {len(images)} digits right.")
    return 0 if right > 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
