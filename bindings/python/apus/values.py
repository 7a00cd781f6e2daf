"""Between Python values and apus_value: numpy arrays, lists (sequences), dicts (maps), None (empty optional)."""
import ctypes
from ctypes import c_int64, c_size_t, c_void_p

import numpy as np

from ._library import Managed, String, created, library

TENSOR, SEQUENCE, MAP, OPTIONAL, SPARSE = 1, 2, 3, 4, 5
STRING, BOOL = 8, 9
_STANDARD = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
    11: np.float64, 12: np.uint32, 13: np.uint64, 14: np.complex64, 15: np.complex128,
}
_EXTENDED = {
    16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4",
    22: "int4", 23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2", 27: "float6_e2m3fn", 28: "float6_e3m2fn",
}
# Types below 8 bits are one element a byte in ml_dtypes, packed in Apus.
_BITS = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2, 27: 6, 28: 6}


def dtype(element_type):
    """The numpy dtype of an ONNX element type."""
    if element_type in _STANDARD:
        return np.dtype(_STANDARD[element_type])
    if element_type in _EXTENDED:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _EXTENDED[element_type]))
    return np.dtype(object)


_NUMBERS = {np.dtype(scalar): number for number, scalar in _STANDARD.items()}


def element_type(kind):
    """The ONNX element type of a numpy dtype."""
    number = _NUMBERS.get(kind)
    if number is None:
        if kind.kind in "OUS" or kind.kind == "T":
            return STRING
        number = next((n for n, name in _EXTENDED.items() if kind.name == name), None)
        if number is None:
            raise TypeError(f"numpy dtype {kind} has no ONNX element type")
        _NUMBERS[kind] = number
    return number


def _pack(array, bits):
    """One element a byte -> packed, the first element in the lowest bits."""
    codes = np.ascontiguousarray(array).view(np.uint8).reshape(-1) & ((1 << bits) - 1)
    stream = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little").reshape(-1)
    return np.packbits(stream, bitorder="little")


def _unpack(packed, count, bits, number):
    """The reverse; ml_dtypes leaves the upper bits of a byte 0, of negative numbers, too."""
    stream = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    codes = np.packbits(stream, axis=1, bitorder="little").reshape(-1)
    return codes.view(dtype(number))


class Type(Managed):
    """An apus_type that belongs to Python."""

    _destroy = library.apus_type_destroy

    def __init__(self, handle):
        self._handle = handle


def type_like(handle):
    """A new type equal to the borrowed one, apart from shapes."""
    kind = library.apus_type_kind(handle)
    if kind == TENSOR:
        return Type(created(library.apus_type_create_tensor, library.apus_type_element_type(handle)))
    if kind == SPARSE:
        return Type(created(library.apus_type_create_sparse, library.apus_type_element_type(handle)))
    element = type_like(library.apus_type_element(handle))
    if kind == MAP:
        return Type(created(library.apus_type_create_map, library.apus_type_element_type(handle), element.handle))
    create = library.apus_type_create_sequence if kind == SEQUENCE else library.apus_type_create_optional
    return Type(created(create, element.handle))


class Value(Managed):
    """An apus_value that belongs to Python, and the array whose memory it uses."""

    _destroy = library.apus_value_destroy

    def __init__(self, handle, keeps=None):
        self._handle, self._keeps = handle, keeps


def _dimensions(shape):
    return (c_int64 * len(shape))(*shape)


_NO_RELEASE = ctypes.cast(None, library.apus_value_create_tensor_over.argtypes[5])


def tensor(array, copy=False):
    """A value over a numpy array's memory: not copied where it is contiguous, aligned and in native byte order.

    With `copy` the value has memory of its own.
    """
    number = element_type(array.dtype if array.dtype.isnative else array.dtype.newbyteorder("="))
    shape = array.shape
    if number == STRING:
        return _strings(array)
    if number in _BITS:
        array = _pack(array, _BITS[number])
    elif not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
    if copy:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        value = Value(created(library.apus_value_create_tensor, number, _dimensions(shape), len(shape)))
        ctypes.memmove(library.apus_value_data(value.handle), array.ctypes.data, array.nbytes)
        return value
    handle = created(
        library.apus_value_create_tensor_over, number, _dimensions(shape), len(shape), array.ctypes.data, array.nbytes,
        _NO_RELEASE, None)
    return Value(handle, array)


def _bytes(item):
    return item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogateescape")


def _strings(array):
    items = [_bytes(item) for item in array.reshape(-1).tolist()]
    texts = (String * max(len(items), 1))()
    for text, item in zip(texts, items):
        text.data, text.size = ctypes.cast(ctypes.c_char_p(item), c_void_p), len(item)
    return Value(created(
        library.apus_value_create_strings, _dimensions(array.shape), array.ndim, texts, len(items)))


def to_value(item, handle=None, copy=False):
    """The value of a Python object; `handle` is the type that the model expects, where known; `copy` as for tensor()."""
    kind = library.apus_type_kind(handle) if handle else None
    if kind == OPTIONAL:
        element_kind = library.apus_type_element(handle)
        element = None if item is None else to_value(item, element_kind, copy)
        kept = type_like(element_kind)
        return Value(
            created(library.apus_value_create_optional, kept.handle, element.handle if element else None), element)
    if isinstance(item, (list, tuple)) and (kind == SEQUENCE or handle is None):
        element_kind = type_like(library.apus_type_element(handle)) if handle else None
        elements = [to_value(x, element_kind.handle if element_kind else None, copy) for x in item]
        if element_kind is None:
            if not elements:
                raise TypeError("the type of an empty sequence is unknown")
            element_kind = type_like(library.apus_value_get_type(elements[0].handle))
        handles = (c_void_p * max(len(elements), 1))(*[e.handle.value for e in elements])
        return Value(
            created(library.apus_value_create_sequence, element_kind.handle, handles, len(elements)), elements)
    if isinstance(item, dict):
        keys, values = list(item), list(item.values())
        kinds = _map_dtypes(handle) if kind == MAP else (None, None)
        parts = [tensor(np.asarray(part, kind), copy) for part, kind in zip((keys, values), kinds)]
        return Value(created(library.apus_value_create_map, parts[0].handle, parts[1].handle), parts)
    if isinstance(item, SparseTensor):
        parts = [tensor(np.asarray(item.values), copy), tensor(np.asarray(item.indices, np.int64), copy)]
        return Value(
            created(
                library.apus_value_create_sparse, _dimensions(item.shape), len(item.shape), parts[0].handle, parts[1].handle),
            parts)
    return tensor(item if isinstance(item, np.ndarray) else np.asarray(item), copy)


def _map_dtypes(handle):
    """What a map's keys and values are in numpy; None where the values are no tensors."""
    value = library.apus_type_element(handle)
    of_value = dtype(library.apus_type_element_type(value)) if library.apus_type_kind(value) == TENSOR else None
    return dtype(library.apus_type_element_type(handle)), of_value


class _Memory:
    """Gives numpy the memory of a value, which lives as long as an array uses it."""

    def __init__(self, value, pointer, size):
        self._value = value
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (pointer, False)}


def from_value(value):
    """The Python object of a value, whose memory arrays share."""
    handle = value.handle
    kind = library.apus_value_get_kind(handle)
    if kind == TENSOR:
        return _array(value)
    count = library.apus_value_count(handle)
    if kind == SEQUENCE:
        return [from_value(Value(created(library.apus_value_element, handle, i))) for i in range(count)]
    if kind == OPTIONAL:
        return from_value(Value(created(library.apus_value_element, handle, 0))) if count else None
    if kind == MAP:
        keys = from_value(Value(created(library.apus_value_keys, handle)))
        values = from_value(Value(created(library.apus_value_values, handle)))
        return dict(zip(keys.tolist(), values.tolist() if isinstance(values, np.ndarray) else values))
    return SparseTensor(
        from_value(Value(created(library.apus_value_values, handle))),
        from_value(Value(created(library.apus_value_keys, handle))), _shape(handle))


def shape(value):
    """The dimensions of a dense tensor."""
    return _shape(value.handle)


def _shape(handle):
    rank = library.apus_value_rank(handle)
    return tuple(library.apus_value_dimensions(handle)[:rank]) if rank else ()


def _array(value):
    handle = value.handle
    number, shape = library.apus_value_element_type(handle), _shape(handle)
    if number == STRING:
        array = np.empty(library.apus_value_count(handle), object)
        for i in range(array.size):
            array[i] = library.apus_value_string(handle, i).text()
        return array.reshape(shape)
    size = library.apus_value_size(handle)
    if size == 0:
        return np.empty(shape, dtype(number))
    memory = np.asarray(_Memory(value, library.apus_value_const_data(handle), size))
    if number in _BITS:
        return _unpack(memory, library.apus_value_count(handle), _BITS[number], number).reshape(shape)
    return memory.view(dtype(number)).reshape(shape)


class SparseTensor:
    """A sparse tensor: its stored elements, their positions, and the shape of the whole."""

    def __init__(self, values, indices, shape):
        self.values, self.indices, self.shape = values, indices, shape
