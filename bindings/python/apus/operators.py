"""Operators that a Python program brings along: SessionOptions.register_operator()."""
import ctypes
import itertools
from ctypes import byref, c_char_p, c_float, c_int64, c_size_t, c_void_p

import numpy as np

from . import values
from ._library import NODE_FUNCTION, RELEASE, Operator, String, created, library
from .errors import ApusError, check, failure

HOST_OPERATOR = 41


class Node:
    """A node as its operator's functions see it: `domain`, `op_type`, `name`, `opset` and `attributes`, a dict."""

    def __init__(self, handle):
        self.domain = library.apus_node_domain(handle).text()
        self.op_type = library.apus_node_op_type(handle).text()
        self.name = library.apus_node_name(handle).text()
        self.opset = library.apus_node_opset(handle)
        self.attributes = {}
        for i in range(library.apus_node_attribute_count(handle)):
            name = library.apus_node_attribute_name(handle, i)
            self.attributes[name.text()] = _attribute(handle, name.bytes())


def _attribute(handle, name):
    """The contents of an attribute; None for kinds that have no form in Python."""
    kind = library.apus_node_attribute_kind(handle, name)
    single = {1: ("float", c_float), 2: ("int", c_int64), 3: ("string", String)}
    several = {6: ("floats", c_float), 7: ("ints", c_int64), 8: ("strings", String)}
    if kind in single:
        suffix, ctype = single[kind]
        out = ctype()
        check(getattr(library, "apus_node_attribute_" + suffix)(handle, name, byref(out)))
        return out.text() if ctype is String else out.value
    if kind in several:
        suffix, ctype = several[kind]
        out, count = ctypes.POINTER(ctype)(), c_size_t()
        check(getattr(library, "apus_node_attribute_" + suffix)(handle, name, byref(out), byref(count)))
        return [x.text() if ctype is String else x for x in out[:count.value]]
    if kind == 4:
        return np.array(values.from_value(values.Value(created(library.apus_node_attribute_tensor, handle, name))))
    return None


class ValueType:
    """The type of a dense tensor: `dtype` (numpy's) and `shape`, a list of sizes, names and None; None: any rank.

    Types of other kinds, which only Apus makes, have neither; they can be handed on.
    """

    def __init__(self, dtype, shape=None):
        self.dtype, self.shape = np.dtype(dtype), None if shape is None else list(shape)
        self._like = None

    @classmethod
    def _of(cls, handle):
        result = cls.__new__(cls)
        result.dtype = result.shape = None
        result._like = values.type_like(handle)
        if library.apus_type_kind(handle) == values.TENSOR:
            result.dtype = values.dtype(library.apus_type_element_type(handle))
            rank = c_size_t()
            if library.apus_type_rank(handle, byref(rank)):
                result.shape = []
                for axis in range(rank.value):
                    symbol = c_char_p()
                    size = library.apus_type_dimension(handle, axis, byref(symbol))
                    result.shape.append(size if size >= 0 else symbol.value and symbol.value.decode("utf-8", "surrogateescape"))
        return result

    def _create(self):
        """A new handle, for the library to take over."""
        if self.dtype is None:
            return values.type_like(self._like.handle).detached()
        number = values.element_type(self.dtype)
        if self.shape is None:
            return created(library.apus_type_create_tensor, number).value
        sizes = (c_int64 * max(1, len(self.shape)))(*[d if isinstance(d, (int, np.integer)) else -1 for d in self.shape])
        names = (c_char_p * max(1, len(self.shape)))(
            *[d.encode("utf-8", "surrogateescape") if isinstance(d, str) else None for d in self.shape])
        return created(library.apus_type_create_tensor_of_shape, number, sizes, names, len(self.shape)).value

    def __repr__(self):
        return f"ValueType({self.dtype}, {self.shape})"


# By number: (infer, compute) as long as options or sessions may call them.
_functions = {}
_numbers = itertools.count(1)


def _guarded(body):
    """A C function out of a Python function that must not raise."""
    def call(number, node, inputs, input_count, outputs, output_count):
        try:
            body(_functions[number], Node(node), [inputs[i] for i in range(input_count)], outputs, output_count)
            return None
        except BaseException as error:
            code = error.code if isinstance(error, ApusError) else HOST_OPERATOR
            message = str(error) if isinstance(error, ApusError) else f"{type(error).__name__}: {error}"
            failure.exception = (error, message)
            return library.apus_error_create(code, message.encode("utf-8", "replace"))

    return NODE_FUNCTION(call)


def _counted(items, count, what):
    if len(items) != count:
        raise ValueError(f"{what} gave {len(items)} results for {count} outputs")
    return items


def _infer(functions, node, inputs, outputs, count):
    types = [None if handle is None else ValueType._of(handle) for handle in inputs]
    result = functions[0](node, types)
    for i, item in enumerate(_counted(result if isinstance(result, list) else [result], count, "infer")):
        if isinstance(item, tuple):
            item = ValueType(*item)
        if not isinstance(item, ValueType):
            raise TypeError(f"infer gave {item!r} as the type of output {i}; a ValueType or (dtype, shape) expected")
        outputs[i] = item._create()


class _Borrowed:
    """A value that belongs to the caller."""

    def __init__(self, handle):
        self.handle = handle


def _compute(functions, node, inputs, outputs, count):
    arguments = [None if handle is None else values.from_value(_Borrowed(handle)) for handle in inputs]
    # The library's memory is gone after the call, an array need not be.
    arguments = [np.array(x) if isinstance(x, np.ndarray) else x for x in arguments]
    result = functions[1](node, *arguments)
    # A list is a sequence; only a tuple is several outputs.
    for i, item in enumerate(_counted(result if isinstance(result, tuple) else (result,), count, "compute")):
        if item is None:
            raise TypeError(f"compute gave no output {i}")
        value = values.to_value(item, copy=True)
        if outputs[i] is None:
            outputs[i] = value.detached()
        else:
            _fill(outputs[i], value.handle, i)


def _fill(target, source, index):
    """Copies a tensor to one of the same type and shape."""
    kinds = [library.apus_value_element_type(x) for x in (target, source)]
    shapes = [values._shape(x) for x in (target, source)]
    if kinds[0] != kinds[1] or shapes[0] != shapes[1]:
        types = [f"{values.dtype(kind)} of shape {shape}" for kind, shape in zip(kinds, shapes)]
        raise ValueError(f"compute gave output {index} as {types[1]}, inferred was {types[0]}")
    ctypes.memmove(library.apus_value_data(target), library.apus_value_const_data(source), library.apus_value_size(source))


_INFER, _COMPUTE = _guarded(_infer), _guarded(_compute)
_RELEASE = RELEASE(lambda number: _functions.pop(number, None) and None)


def add(options, domain, op_type, since, infer, compute):
    """Adds an operator to an apus_options."""
    number = next(_numbers)
    _functions[number] = (infer, compute)
    description = Operator(
        ctypes.sizeof(Operator), domain.encode("utf-8", "surrogateescape"), op_type.encode("utf-8", "surrogateescape"), since,
        _INFER if infer else ctypes.cast(None, NODE_FUNCTION), _COMPUTE, c_void_p(number), _RELEASE)
    check(library.apus_options_add_operator(options, byref(description)))
