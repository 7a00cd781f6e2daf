"""The short way of a run: dense inputs and outputs of known shapes go to the library as they are, in one call.

A tiny network takes a few microseconds, as much as one handle costs to make and to destroy from Python. So descriptions of
arrays (apus_array) are kept between runs; only addresses, and shapes where they differ from the last ones, are written. Arrays
of a few kilobytes are copied into and out of memory whose address is known, which is quicker than asking numpy for theirs.
"""
import ctypes
import math
import re
from ctypes import POINTER, addressof, c_int, c_int64, c_size_t, c_void_p, sizeof

import numpy as np

from . import values
from ._library import library
from .errors import InvalidArgument, check


class Array(ctypes.Structure):
    """apus_array."""

    _fields_ = [
        ("struct_size", c_size_t), ("element_type", c_int), ("rank", c_size_t), ("dimensions", POINTER(c_int64)), ("data", c_void_p),
        ("size", c_size_t),
    ]


# A function of its own without parameter types: its arguments are ctypes objects already, which saves their conversion.
_run = library["apus_session_run_arrays"]
_run.restype = c_void_p
_NO_RUN = c_void_p()
_ndarray = np.ndarray
_view = ctypes.c_char.from_buffer


def _address(array):
    """Where the elements of a contiguous array begin."""
    try:
        # Three times as fast as numpy's own ways; not for read-only and empty arrays, nor for types that buffers do not know.
        return addressof(_view(array))
    except (TypeError, ValueError, BufferError):
        return array.__array_interface__["data"][0]


class _Description:
    """One array's description, and the shape that it was written for."""

    def __init__(self, array, dtype, number):
        self.array, self.dtype = array, dtype
        array.struct_size, array.element_type = sizeof(Array), number
        self.shape = None

    def reshape(self, shape):
        self.shape = shape
        self._dimensions = (c_int64 * max(len(shape), 1))(*shape)
        self.array.rank, self.array.dimensions = len(shape), self._dimensions
        size = self.dtype.itemsize
        for dimension in shape:
            size *= dimension
        self.array.size = size


class Descriptions:
    """The descriptions of one run at a time."""

    def __init__(self, inputs, outputs):
        self._memory = (Array * len(inputs))(), (Array * len(outputs))()
        self.inputs = [_Description(array, *kind) for array, kind in zip(self._memory[0], inputs)]
        self.outputs = [_Description(array, *kind) for array, kind in zip(self._memory[1], outputs)]
        self.arguments = (
            c_void_p(addressof(self._memory[0])), c_size_t(len(inputs)), c_void_p(addressof(self._memory[1])), c_size_t(len(outputs)))


class _Staged:
    """Descriptions of small arrays that stay where they are: one run at a time copies its inputs in and its results out."""

    # Above this, copying takes longer than finding the address.
    _MOST_BYTES = 8192

    def __init__(self, names, kinds, shapes):
        self._descriptions = Descriptions(*kinds)
        self.arguments = self._descriptions.arguments
        self.inputs = {
            name: (self._place(description, shape), shape, description.dtype)
            for name, description, shape in zip(names, self._descriptions.inputs, shapes[0])
        }
        self.outputs = [self._place(*pair) for pair in zip(self._descriptions.outputs, shapes[1])]
        self.count = len(self.inputs)

    @staticmethod
    def _place(description, shape):
        array = np.empty(shape, description.dtype)
        description.reshape(shape)
        description.array.data = _address(array)
        return array

    @staticmethod
    def fits(kinds, shapes):
        return all(
            0 < math.prod(shape) * dtype.itemsize <= _Staged._MOST_BYTES
            for group, sizes in zip(kinds, shapes) for (dtype, _), shape in zip(group, sizes))

    def take(self, feed):
        """Copies all inputs in; False where they are others than these."""
        if len(feed) != self.count:
            return False
        inputs = self.inputs
        for name, item in feed.items():
            entry = inputs.get(name)
            if entry is None:
                return False
            place, shape, dtype = entry
            if type(item) is not _ndarray or item.shape != shape or item.dtype != dtype:
                return False
            # Whatever the layout: numpy reads it.
            place[...] = item
        return True


class ArrayRuns:
    """Runs a session whose inputs and outputs are dense tensors of whole bytes."""

    _MOST_SHAPES = 64

    def __init__(self, inputs, outputs):
        self._inputs = [_kind(argument) for argument in inputs]
        self._outputs = [_kind(argument) for argument in outputs]
        self._index = {argument.name: i for i, argument in enumerate(inputs)}
        # Shapes that the model does not fix are those of the last run with inputs of the same shapes.
        self._fixed = tuple(tuple(argument.shape) for argument in outputs)
        if not all(argument.has_rank for argument in outputs) or any(not isinstance(size, int) for shape in self._fixed for size in shape):
            self._fixed = None
        self._shapes = {}
        self._rules = None if self._fixed else _ShapeRules.make(inputs, outputs)
        # Taken and given back by one operation each, so that threads may run at the same time.
        self._idle = []
        self._staged = []

    @staticmethod
    def make(inputs, outputs):
        """None where the session has other values than dense tensors of whole bytes, or outputs whose shapes the data decide."""
        if not inputs or not outputs or any(_kind(argument) is None for argument in (*inputs, *outputs)):
            return None
        if any(size is None for argument in outputs for size in argument.shape):
            return None
        return ArrayRuns(inputs, outputs)

    def run(self, session, feed, run):
        """All outputs in order; None where this run needs the long way. `session` and `run`, or None, are c_void_p."""
        try:
            staged = self._staged.pop()
        except IndexError:
            staged = None
        try:
            if staged is not None and staged.take(feed):
                error = _run(session, *staged.arguments, run or _NO_RUN)
                if error:
                    check(error)
                results = [place.copy() for place in staged.outputs]
                self._staged.append(staged)
                return results
            try:
                taken = self._idle.pop()
            except IndexError:
                taken = Descriptions(self._inputs, self._outputs)
            try:
                return self._run(taken, session, feed, run or _NO_RUN)
            finally:
                self._idle.append(taken)
        except InvalidArgument:
            # A shape that the model does not fix may follow from data, not only from shapes.
            if self._fixed is None:
                return None
            raise

    def _run(self, taken, session, feed, run):
        index = self._index
        if len(feed) != len(index):
            return None
        repeats = True
        for name, item in feed.items():
            position = index.get(name)
            if position is None or type(item) is not _ndarray:
                return None
            description = taken.inputs[position]
            flags = item.flags
            if item.dtype != description.dtype or not flags.c_contiguous or not flags.aligned:
                return None
            if item.shape != description.shape:
                description.reshape(item.shape)
                repeats = False
            description.array.data = _address(item)
        shapes = self._fixed
        if shapes is None:
            given = tuple([description.shape for description in taken.inputs])
            shapes = self._shapes.get(given)
            if shapes is None:
                rules = self._rules
                shapes = rules and rules.shapes(given)
                if shapes is None:
                    return None
        results = []
        for description, shape in zip(taken.outputs, shapes):
            array = np.empty(shape, description.dtype)
            if shape != description.shape:
                description.reshape(shape)
            description.array.data = _address(array)
            results.append(array)
        error = _run(session, *taken.arguments, run)
        if error:
            check(error)
        if repeats:
            kinds = self._inputs, self._outputs
            shapes = [description.shape for description in taken.inputs], shapes
            if _Staged.fits(kinds, shapes):
                self._staged.append(_Staged(index, kinds, shapes))
        return results

    def learn(self, feed, shapes):
        """Remembers what shapes of all outputs a run of the long way gave."""
        if self._fixed is not None or len(shapes) < len(self._outputs) or not all(
                isinstance(feed.get(name), np.ndarray) for name in self._index):
            return
        if len(self._shapes) >= self._MOST_SHAPES:
            self._shapes.clear()
        given = tuple(feed[name].shape for name in self._index)
        self._shapes[given] = shapes = tuple(shapes)
        # The names say something else, or one of them stands for several sizes.
        if self._rules and self._rules.shapes(given) != shapes:
            self._rules = None


class _ShapeRules:
    """What shapes outputs have, from the names that the model gives to dimensions: "past" and "past+1"."""

    def __init__(self, inputs, symbols, outputs):
        self._inputs, self._symbols, self._outputs = inputs, symbols, outputs

    @staticmethod
    def make(inputs, outputs):
        """None where some output's size is no sum of products of numbers and names of inputs' dimensions."""
        places = {}
        for position, argument in enumerate(inputs):
            if not argument.has_rank:
                return None
            for axis, size in enumerate(argument.shape):
                if isinstance(size, str):
                    places.setdefault(size, (position, axis))
        names = list(places)
        try:
            shapes = [[_ShapeRules._rule(size, names) for size in argument.shape] for argument in outputs]
        except ValueError:
            return None
        return _ShapeRules([len(argument.shape) for argument in inputs], list(places.values()), shapes)

    @staticmethod
    def _rule(size, names):
        """Addends as (factor, positions of symbols)."""
        if isinstance(size, int):
            return [(size, ())]
        if size in names:
            return [(1, (names.index(size),))]
        text = size.replace(" ", "")
        terms = re.findall(r"([+-]?)([^+-]+)", text)
        if not terms or "".join(map("".join, terms)) != text:
            raise ValueError(size)
        addends = []
        for sign, product in terms:
            factor, symbols = -1 if sign == "-" else 1, []
            for part in product.split("*"):
                if part.isdecimal():
                    factor *= int(part)
                else:
                    symbols.append(names.index(part))
            addends.append((factor, tuple(symbols)))
        return addends

    def shapes(self, given):
        """Shapes of all outputs for inputs of these; None where there are none such."""
        if [len(shape) for shape in given] != self._inputs:
            return None
        sizes = [given[position][axis] for position, axis in self._symbols]
        results = []
        for rules in self._outputs:
            shape = []
            for addends in rules:
                size = 0
                for factor, symbols in addends:
                    for symbol in symbols:
                        factor *= sizes[symbol]
                    size += factor
                if size < 0:
                    return None
                shape.append(size)
            results.append(tuple(shape))
        return tuple(results)


def _kind(argument):
    """The dtype and number of a dense tensor of known rank; None for anything else."""
    if not argument.type.startswith("tensor(") or argument.element_type == values.STRING or argument.element_type in values._BITS:
        return None
    return values.dtype(argument.element_type), argument.element_type
