"""The C interface through ctypes: loads libapus and declares every function of apus.h."""
import ctypes
import os
import pathlib
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_double, c_float, c_int, c_int64, c_size_t, c_uint32, c_void_p


class String(ctypes.Structure):
    """apus_string: bytes with their length."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    def bytes(self):
        return ctypes.string_at(self.data, self.size) if self.data else b""

    def text(self):
        # Names are bytes; surrogateescape gives each different name a different str.
        return self.bytes().decode("utf-8", "surrogateescape")


RELEASE = CFUNCTYPE(None, c_void_p)
EXTERNAL_DATA = CFUNCTYPE(c_bool, c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t))
LOG = CFUNCTYPE(None, c_void_p, c_int, c_char_p)
_LIST = POINTER(c_void_p)
# apus_infer_function and apus_compute_function look alike.
NODE_FUNCTION = CFUNCTYPE(c_void_p, c_void_p, c_void_p, _LIST, c_size_t, _LIST, c_size_t)


class Operator(ctypes.Structure):
    """apus_operator: functions of an operator of our own."""

    _fields_ = [
        ("size", c_size_t), ("domain", c_char_p), ("op_type", c_char_p), ("since", c_int64), ("infer", NODE_FUNCTION),
        ("compute", NODE_FUNCTION), ("user_data", c_void_p), ("release", RELEASE),
    ]


PROGRESS = CFUNCTYPE(None, c_void_p, c_char_p, c_double)
REPORT = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)


class QuantizeBatch(ctypes.Structure):
    """apus_quantize_batch: one run's worth of data."""

    _fields_ = [
        ("struct_size", c_size_t), ("inputs", _LIST), ("input_count", c_size_t), ("labels", POINTER(c_int64)), ("label_count", c_size_t),
    ]


class QuantizeOptions(ctypes.Structure):
    """apus_quantize_options."""

    _fields_ = [
        ("struct_size", c_size_t), ("method", c_int), ("activation_type", c_int), ("weight_type", c_int), ("calibration", c_int),
        ("percentile", c_double), ("block_size", c_size_t), ("zero_points", c_bool), ("plain_scales", c_bool), ("per_tensor", c_bool),
        ("correct_bias", c_bool), ("equalization", c_int), ("max_drop", c_double), ("exclude", POINTER(c_char_p)), ("exclude_count", c_size_t),
        ("include", POINTER(c_char_p)), ("include_count", c_size_t), ("batches", POINTER(QuantizeBatch)), ("batch_count", c_size_t),
        ("progress", PROGRESS), ("report", REPORT), ("user_data", c_void_p),
    ]


def _find():
    """$APUS_LIBRARY, the library carried by the package, or the release build of the repository around it."""
    here = pathlib.Path(__file__).resolve().parent
    if path := os.environ.get("APUS_LIBRARY"):
        return path
    candidates = [here / "lib" / "libapus.so", here.parents[2] / ".build" / "release" / "libapus.so"]
    for path in candidates:
        if path.exists():
            return str(path)
    raise ImportError("libapus.so was not found: set APUS_LIBRARY, or install with `pip install ./bindings/python`")


library = ctypes.CDLL(_find())

_H, _HH, _E = c_void_p, POINTER(c_void_p), c_void_p
_DIMENSIONS = POINTER(c_int64)
# name: (result, parameters); results of type _E are errors that `check` takes over.
FUNCTIONS = {
    "apus_version": (c_char_p, []),
    "apus_version_number": (c_uint32, []),
    "apus_error_get_code": (c_int, [_H]),
    "apus_error_message": (c_char_p, [_H]),
    "apus_error_node": (c_char_p, [_H]),
    "apus_error_destroy": (None, [_H]),
    "apus_error_create": (_E, [c_int, c_char_p]),
    "apus_element_type_bits": (c_size_t, [c_int]),
    "apus_element_type_name": (c_char_p, [c_int]),
    "apus_type_create_tensor": (_E, [c_int, _HH]),
    "apus_type_create_tensor_of_shape": (_E, [c_int, _DIMENSIONS, POINTER(c_char_p), c_size_t, _HH]),
    "apus_type_create_sequence": (_E, [_H, _HH]),
    "apus_type_create_map": (_E, [c_int, _H, _HH]),
    "apus_type_create_sparse": (_E, [c_int, _HH]),
    "apus_type_create_optional": (_E, [_H, _HH]),
    "apus_type_destroy": (None, [_H]),
    "apus_type_kind": (c_int, [_H]),
    "apus_type_element_type": (c_int, [_H]),
    "apus_type_element": (_H, [_H]),
    "apus_type_rank": (c_bool, [_H, POINTER(c_size_t)]),
    "apus_type_dimension": (c_int64, [_H, c_size_t, POINTER(c_char_p)]),
    "apus_type_name": (c_char_p, [_H]),
    "apus_value_create_tensor": (_E, [c_int, _DIMENSIONS, c_size_t, _HH]),
    "apus_value_create_tensor_over": (_E, [c_int, _DIMENSIONS, c_size_t, c_void_p, c_size_t, RELEASE, c_void_p, _HH]),
    "apus_value_create_strings": (_E, [_DIMENSIONS, c_size_t, POINTER(String), c_size_t, _HH]),
    "apus_value_create_sequence": (_E, [_H, _HH, c_size_t, _HH]),
    "apus_value_create_map": (_E, [_H, _H, _HH]),
    "apus_value_create_optional": (_E, [_H, _H, _HH]),
    "apus_value_create_sparse": (_E, [_DIMENSIONS, c_size_t, _H, _H, _HH]),
    "apus_value_destroy": (None, [_H]),
    "apus_value_get_kind": (c_int, [_H]),
    "apus_value_get_type": (_H, [_H]),
    "apus_value_element_type": (c_int, [_H]),
    "apus_value_rank": (c_size_t, [_H]),
    "apus_value_dimensions": (_DIMENSIONS, [_H]),
    "apus_value_count": (c_size_t, [_H]),
    "apus_value_data": (c_void_p, [_H]),
    "apus_value_const_data": (c_void_p, [_H]),
    "apus_value_size": (c_size_t, [_H]),
    "apus_value_string": (String, [_H, c_size_t]),
    "apus_value_element": (_E, [_H, c_size_t, _HH]),
    "apus_value_keys": (_E, [_H, _HH]),
    "apus_value_values": (_E, [_H, _HH]),
    "apus_model_create_from_path": (_E, [c_char_p, _HH]),
    "apus_model_create_from_path_with_data": (_E, [c_char_p, EXTERNAL_DATA, c_void_p, _HH]),
    "apus_model_create_from_bytes": (_E, [c_void_p, c_size_t, RELEASE, c_void_p, EXTERNAL_DATA, c_void_p, _HH]),
    "apus_model_destroy": (None, [_H]),
    "apus_model_save": (_E, [_H, c_char_p]),
    "apus_model_ir_version": (c_int64, [_H]),
    "apus_model_producer_name": (String, [_H]),
    "apus_model_producer_version": (String, [_H]),
    "apus_model_domain": (String, [_H]),
    "apus_model_version": (c_int64, [_H]),
    "apus_model_description": (String, [_H]),
    "apus_model_graph_name": (String, [_H]),
    "apus_model_opset_count": (c_size_t, [_H]),
    "apus_model_opset_domain": (String, [_H, c_size_t]),
    "apus_model_opset_version": (c_int64, [_H, c_size_t]),
    "apus_model_metadata_count": (c_size_t, [_H]),
    "apus_model_metadata_key": (String, [_H, c_size_t]),
    "apus_model_metadata_value": (String, [_H, c_size_t]),
    "apus_pool_create": (_E, [c_size_t, _HH]),
    "apus_pool_size": (c_size_t, [_H]),
    "apus_pool_destroy": (None, [_H]),
    "apus_options_create": (_E, [_HH]),
    "apus_options_destroy": (None, [_H]),
    "apus_options_set_threads": (_E, [_H, c_size_t]),
    "apus_options_set_pool": (_E, [_H, _H]),
    "apus_options_set_optimization_level": (_E, [_H, c_int]),
    "apus_options_disable_pass": (_E, [_H, c_char_p]),
    "apus_options_set_cpu": (_E, [_H, c_char_p]),
    "apus_options_set_memory_limit": (_E, [_H, c_size_t]),
    "apus_options_set_log": (_E, [_H, LOG, c_void_p]),
    "apus_options_add_operator": (_E, [_H, POINTER(Operator)]),
    "apus_node_domain": (String, [_H]),
    "apus_node_op_type": (String, [_H]),
    "apus_node_name": (String, [_H]),
    "apus_node_opset": (c_int64, [_H]),
    "apus_node_attribute_count": (c_size_t, [_H]),
    "apus_node_attribute_name": (String, [_H, c_size_t]),
    "apus_node_attribute_kind": (c_int, [_H, c_char_p]),
    "apus_node_attribute_int": (_E, [_H, c_char_p, POINTER(c_int64)]),
    "apus_node_attribute_float": (_E, [_H, c_char_p, POINTER(c_float)]),
    "apus_node_attribute_string": (_E, [_H, c_char_p, POINTER(String)]),
    "apus_node_attribute_tensor": (_E, [_H, c_char_p, _HH]),
    "apus_node_attribute_ints": (_E, [_H, c_char_p, POINTER(_DIMENSIONS), POINTER(c_size_t)]),
    "apus_node_attribute_floats": (_E, [_H, c_char_p, POINTER(POINTER(c_float)), POINTER(c_size_t)]),
    "apus_node_attribute_strings": (_E, [_H, c_char_p, POINTER(POINTER(String)), POINTER(c_size_t)]),
    "apus_model_quantize": (_E, [_H, POINTER(QuantizeOptions), _H, _HH]),
    "apus_session_create": (_E, [_H, _H, _HH]),
    "apus_session_destroy": (None, [_H]),
    "apus_session_input_count": (c_size_t, [_H]),
    "apus_session_output_count": (c_size_t, [_H]),
    "apus_session_input_name": (String, [_H, c_size_t]),
    "apus_session_output_name": (String, [_H, c_size_t]),
    "apus_session_input_type": (_H, [_H, c_size_t]),
    "apus_session_output_type": (_H, [_H, c_size_t]),
    "apus_session_input_is_optional": (c_bool, [_H, c_size_t]),
    "apus_session_find_input": (_E, [_H, c_char_p, c_size_t, POINTER(c_size_t)]),
    "apus_session_find_output": (_E, [_H, c_char_p, c_size_t, POINTER(c_size_t)]),
    "apus_run_create": (_E, [_HH]),
    "apus_run_destroy": (None, [_H]),
    "apus_run_cancel": (None, [_H]),
    "apus_run_reset": (None, [_H]),
    "apus_run_set_time_limit": (None, [_H, c_int64]),
    "apus_session_run": (_E, [_H, _HH, c_size_t, _HH, c_size_t, _H]),
    "apus_session_run_arrays": (_E, [_H, c_void_p, c_size_t, c_void_p, c_size_t, _H]),
}
for _name, (_result, _parameters) in FUNCTIONS.items():
    _function = getattr(library, _name)
    _function.restype, _function.argtypes = _result, _parameters


def created(function, *arguments):
    """Calls a function that gives a handle through its last parameter; raises what it reports."""
    from .errors import check

    handle = c_void_p()
    check(function(*arguments, byref(handle)))
    return handle


class Managed:
    """A handle that is destroyed once: by close(), at the end of a with block, or with the object."""

    _destroy = None
    _handle = None

    @property
    def handle(self):
        if not self._handle:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._handle

    def close(self):
        handle, self._handle = self._handle, None
        if handle:
            type(self)._destroy(handle)

    def detached(self):
        """The handle's address, which from now on belongs to the caller."""
        handle, self._handle = self.handle, None
        return handle.value if isinstance(handle, c_void_p) else handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        try:
            self.close()
        except Exception:  # at interpreter exit the library may be gone
            pass
