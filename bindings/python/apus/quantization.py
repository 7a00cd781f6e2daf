"""Quantises models: apus.quantize()."""
import ctypes
import json
import os
from ctypes import c_char_p, c_int64, c_void_p

import numpy as np

from . import values
from ._library import PROGRESS, REPORT, QuantizeBatch, QuantizeOptions, created, library
from .errors import InvalidArgument, check
from .session import InferenceSession, Model, SessionOptions, _Options

_METHODS = {"static": 0, "dynamic": 1, "weights": 2}
_CALIBRATIONS = {"min-max": 0, "percentile": 1, "entropy": 2}
_EQUALIZATIONS = {"auto": 0, "on": 1, "off": 2}
_TYPES = {"uint8": 2, "int8": 3, "int4": 22}


def _choice(choices, given, name):
    if given not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, not {given!r}", 1, None)
    return choices[given]


def _names(patterns):
    texts = [pattern.encode("utf-8", "surrogateescape") for pattern in ([patterns] if isinstance(patterns, str) else patterns)]
    return (c_char_p * max(len(texts), 1))(*texts), len(texts)


def quantize(
    model, out=None, *, calibrate=None, labels=None, method="static", activation_type="uint8", weight_type="int8",
    calibration="min-max", percentile=99.99, per_channel=True, block_size=0, zero_points=False, search_scales=True,
    equalize="auto", correct_bias=False, max_drop=None, exclude=(), include=(), progress=None, sess_options=None,
):
    """Quantises `model` (a path, bytes or a Model); returns the quantised Model and a report (a dict).

    `out` is a path to save it to. `calibrate` is an iterable of feeds (dicts of arrays by input name), as session.run() takes them:
    needed by method "static", a judgement of the result for the others, "dynamic" (8-bit weights, activations quantised as they come)
    and "weights" (weights alone, `weight_type` int8 or int4, in blocks of `block_size` along the summed axis). `labels` is an iterable
    of as many arrays: the right class of each row of the first output.

    `max_drop` leaves in float what it takes to lose no more than this share of right answers (without labels: relative error).
    `exclude` and `include` name operators, nodes or their first outputs, with * for any characters. `progress` is called with what is
    being done and the share of all that is done.
    """
    model = model if isinstance(model, Model) else Model(model)
    given = QuantizeOptions(struct_size=ctypes.sizeof(QuantizeOptions))
    given.method = _choice(_METHODS, method, "method")
    given.activation_type = _choice(_TYPES, activation_type, "activation_type")
    given.weight_type = _choice(_TYPES, weight_type, "weight_type")
    given.calibration = _choice(_CALIBRATIONS, calibration, "calibration")
    given.equalization = _choice(_EQUALIZATIONS, equalize, "equalize")
    given.percentile, given.block_size, given.max_drop = percentile, block_size, max_drop or 0
    given.zero_points, given.plain_scales = zero_points, not search_scales
    given.per_tensor, given.correct_bias = not per_channel, correct_bias
    given.exclude, given.exclude_count = _names(exclude)
    given.include, given.include_count = _names(include)

    options = sess_options or SessionOptions()
    kept = []
    if calibrate is not None:
        # The types of its inputs live as long as the session.
        session = InferenceSession(model, options)
        batches = _batches(session.get_inputs(), calibrate, labels, kept)
        given.batches, given.batch_count = batches, len(batches)
    elif labels is not None:
        raise InvalidArgument("labels need the data that they belong to: calibrate", 1, None)

    report = []
    on_report = REPORT(lambda _, text, size: report.append(ctypes.string_at(text, size)))
    on_progress = PROGRESS(lambda _, stage, share: progress and progress(stage.decode(), share))
    given.report, given.progress = on_report, on_progress
    held = _Options(options)
    result = Model.__new__(Model)
    result._handle = created(library.apus_model_quantize, model.handle, ctypes.byref(given), held.handle)
    # Constants that stayed as they were lie in the memory of the model's bytes or file.
    result._source = model
    if out is not None:
        check(library.apus_model_save(result.handle, os.fsencode(out)))
    return result, json.loads(report[0])


def _batches(inputs, feeds, labels, kept):
    """The feeds as an array of apus_quantize_batch; `kept` holds what they point to."""
    positions = {argument.name: index for index, argument in enumerate(inputs)}
    labels = None if labels is None else list(labels)
    feeds = list(feeds)
    if labels is not None and len(labels) != len(feeds):
        raise InvalidArgument(f"{len(labels)} arrays of labels for {len(feeds)} batches", 1, None)
    batches = (QuantizeBatch * len(feeds))()
    for number, feed in enumerate(feeds):
        handles = (c_void_p * max(len(inputs), 1))()
        for name, item in feed.items():
            if name not in positions:
                raise InvalidArgument(
                    f"batch {number}: the model has no input {name!r}; its inputs are {', '.join(map(repr, positions))}", 2, None)
            value = values.to_value(item, inputs[positions[name]].handle)
            handles[positions[name]] = value.handle.value
            kept.append(value)
        batch = batches[number]
        batch.struct_size = ctypes.sizeof(QuantizeBatch)
        batch.inputs, batch.input_count = handles, len(inputs)
        if labels is not None:
            classes = np.ascontiguousarray(labels[number], np.int64).reshape(-1)
            batch.labels, batch.label_count = classes.ctypes.data_as(ctypes.POINTER(c_int64)), classes.size
            kept.append(classes)
        kept.append(handles)
    return batches
