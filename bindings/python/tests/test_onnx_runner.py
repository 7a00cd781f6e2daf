"""The same cases through ONNX's own runner, which compares as it likes: the default configuration only."""
import pathlib
import re
import sys
import warnings

import pytest

pytest.importorskip("onnx")
from onnx.backend.test.runner import Runner  # noqa: E402

import apus.backend  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import test_conformance as conformance  # noqa: E402

# Cases of the same names as here; those whose models come from the network are not among them.
LEFT_OUT = {
    *conformance.REASONS,
    # The runner takes the optional input, which is empty, for a list.
    "test_loop16_seq_none",
    # Draws of numpy's generator, which ONNX leaves open.
    *(name for name in conformance.CASES if re.match("test_(bernoulli|training_dropout(_default)?(_mask)?$)", name)),
}
NAMES = {f"{name}_cpu" for name in conformance.CASES.keys() - LEFT_OUT}


def chosen(kind):
    """The class of tests without those that are not run here."""
    for name in [name for name in vars(kind) if name.startswith("test_") and name not in NAMES]:
        delattr(kind, name)
    return kind


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    globals().update({title: chosen(kind) for title, kind in Runner(apus.backend, __name__).test_cases.items()})
