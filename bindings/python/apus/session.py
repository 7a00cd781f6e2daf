"""InferenceSession and SessionOptions, after onnxruntime's."""
import ctypes
import enum
import os
from ctypes import byref, c_char_p, c_size_t, c_void_p

import numpy as np

from . import operators, values
from ._arrays import ArrayRuns
from ._library import EXTERNAL_DATA, LOG, RELEASE, Managed, created, library
from .errors import InvalidArgument, check


class GraphOptimizationLevel(enum.IntEnum):
    """How far the graph is rewritten before it runs."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Accepted for compatibility: Apus runs one node after another."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class Pool(Managed):
    """Threads that several sessions share; None or 0: as many as the process may use."""

    _destroy = library.apus_pool_destroy

    def __init__(self, threads=None):
        self._handle = created(library.apus_pool_create, threads or 0)

    @property
    def size(self):
        return library.apus_pool_size(self.handle)


class SessionOptions:
    """What a session is made with; every attribute is also a keyword of the constructor."""

    def __init__(self, **settings):
        #: Threads of one run; 0: as many as the process may use.
        self.intra_op_num_threads = 0
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        #: A Pool shared with other sessions, or None.
        self.pool = None
        #: The highest instruction set to use ("avx2"), or None.
        self.cpu = None
        #: Bytes that the session may hold, or None.
        self.memory_limit = None
        #: Names of optimiser passes to leave out.
        self.disabled_passes = ()
        #: Called with (level, message), or None.
        self.log = None
        #: What register_operator() was given.
        self.operators = []
        # Known to onnxruntime, without meaning here.
        self.inter_op_num_threads = 0
        self.execution_mode = ExecutionMode.ORT_SEQUENTIAL
        self.log_severity_level = 2
        self.enable_mem_pattern = True
        self.enable_cpu_mem_arena = True
        for name, value in settings.items():
            if not hasattr(self, name):
                raise TypeError(f"SessionOptions has no attribute {name!r}")
            setattr(self, name, value)

    def register_operator(self, domain, op_type, since, infer, compute):
        """Brings along an operator for nodes of `domain` from version `since` of its operator set on.

        `compute(node, *inputs)` returns the output, or a tuple of the outputs. `infer(node, inputs)` gets a ValueType for each
        input and returns one, or (dtype, shape), for the output, or a list of them; None: outputs are like the first input. `node` is a
        operators.Node. Inputs that are left out are None; the others belong to the function.

        Both are called on threads that make or run sessions, at the same time where several do. What they raise ends that
        with RuntimeFailure, whose __cause__ it is.
        """
        self.operators.append((domain, op_type, since, infer, compute))


class _Options(Managed):
    _destroy = library.apus_options_destroy

    def __init__(self, options):
        self._handle = created(library.apus_options_create)
        check(library.apus_options_set_threads(self.handle, int(options.intra_op_num_threads or 0)))
        level = int(options.graph_optimization_level)
        level = 99 if level == GraphOptimizationLevel.ORT_ENABLE_LAYOUT else level
        check(library.apus_options_set_optimization_level(self.handle, level))
        if options.pool is not None:
            check(library.apus_options_set_pool(self.handle, options.pool.handle))
        if options.cpu is not None:
            check(library.apus_options_set_cpu(self.handle, options.cpu.encode()))
        if options.memory_limit is not None:
            check(library.apus_options_set_memory_limit(self.handle, options.memory_limit))
        for name in options.disabled_passes:
            check(library.apus_options_disable_pass(self.handle, name.encode()))
        for operator in options.operators:
            operators.add(self.handle, *operator)
        self.callback = None
        if options.log is not None:
            self.callback = LOG(lambda _, level, message: options.log(level, message.decode("utf-8", "replace")))
            check(library.apus_options_set_log(self.handle, self.callback, None))


class NodeArg:
    """An input or output: `name`, `shape` (numbers, names of symbols, None) and `type`, spelled as in onnxruntime.

    As there, `shape` is empty for a scalar and where the number of dimensions is not known, which `has_rank` tells apart.
    """

    def __init__(self, name, kind):
        self.name = name
        self.type = library.apus_type_name(kind).decode()
        rank = c_size_t()
        self.shape = []
        self.has_rank = library.apus_type_rank(kind, byref(rank))
        if self.has_rank:
            for axis in range(rank.value):
                symbol = c_char_p()
                size = library.apus_type_dimension(kind, axis, byref(symbol))
                self.shape.append(size if size >= 0 else symbol.value and symbol.value.decode("utf-8", "surrogateescape"))
        self.handle = kind
        self.element_type = library.apus_type_element_type(kind)

    def __repr__(self):
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})"


class RunOptions(Managed):
    """Stops runs: cancel() from any thread, or a time limit in seconds."""

    _destroy = library.apus_run_destroy

    def __init__(self, time_limit=None):
        self._handle = created(library.apus_run_create)
        if time_limit is not None:
            self.set_time_limit(time_limit)

    def cancel(self):
        library.apus_run_cancel(self.handle)

    def reset(self):
        library.apus_run_reset(self.handle)

    def set_time_limit(self, seconds):
        library.apus_run_set_time_limit(self.handle, -1 if seconds is None else max(0, int(seconds * 1e9)))


class Model(Managed):
    """An ONNX model, from a path or from bytes; `external_data` maps locations to bytes."""

    _destroy = library.apus_model_destroy

    def __init__(self, path_or_bytes, external_data=None):
        def find(_, location, data, size):
            content = external_data.get(location.decode("utf-8", "surrogateescape"))
            if content is None:
                return False
            array = np.frombuffer(content, np.uint8)
            self._external.append(array)
            data[0], size[0] = array.ctypes.data, array.size
            return True

        self._external = []
        self._find = EXTERNAL_DATA(find) if external_data else ctypes.cast(None, EXTERNAL_DATA)
        if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
            # The library reads these bytes in place, so they are kept (a copy of what could change).
            self._bytes = path_or_bytes if isinstance(path_or_bytes, bytes) else bytes(path_or_bytes)
            self._handle = created(
                library.apus_model_create_from_bytes, ctypes.cast(c_char_p(self._bytes), c_void_p), len(self._bytes),
                ctypes.cast(None, RELEASE), None, self._find, None)
        else:
            path = os.fsencode(path_or_bytes)
            self._handle = created(library.apus_model_create_from_path_with_data, path, self._find, None)

    def save(self, path):
        """Writes the model as it was read."""
        check(library.apus_model_save(self.handle, os.fsencode(path)))

    @property
    def ir_version(self):
        return library.apus_model_ir_version(self.handle)

    @property
    def opsets(self):
        return {
            library.apus_model_opset_domain(self.handle, i).text(): library.apus_model_opset_version(self.handle, i)
            for i in range(library.apus_model_opset_count(self.handle))
        }


class ModelMetadata:
    """What the file says about the model, as onnxruntime names it."""

    def __init__(self, handle):
        self.producer_name = library.apus_model_producer_name(handle).text()
        self.domain = library.apus_model_domain(handle).text()
        self.version = library.apus_model_version(handle)
        self.description = library.apus_model_description(handle).text()
        self.graph_name = library.apus_model_graph_name(handle).text()
        self.custom_metadata_map = {
            library.apus_model_metadata_key(handle, i).text(): library.apus_model_metadata_value(handle, i).text()
            for i in range(library.apus_model_metadata_count(handle))
        }


class InferenceSession(Managed):
    """A model made ready to run. One session may run in several threads at once.

    `path_or_bytes` is a path, the bytes of a model, or a Model. `providers` and `provider_options` are accepted and ignored.
    """

    _destroy = library.apus_session_destroy

    def __init__(self, path_or_bytes, sess_options=None, providers=None, provider_options=None, *, external_data=None):
        self._model = path_or_bytes if isinstance(path_or_bytes, Model) else Model(path_or_bytes, external_data)
        self._options = _Options(sess_options or SessionOptions())
        self._handle = created(library.apus_session_create, self._model.handle, self._options.handle)
        self._inputs = [
            NodeArg(library.apus_session_input_name(self._handle, i).text(), library.apus_session_input_type(self._handle, i))
            for i in range(library.apus_session_input_count(self._handle))
        ]
        self._outputs = [
            NodeArg(library.apus_session_output_name(self._handle, i).text(), library.apus_session_output_type(self._handle, i))
            for i in range(library.apus_session_output_count(self._handle))
        ]
        self._input_index = {argument.name: i for i, argument in enumerate(self._inputs)}
        self._output_index = {argument.name: i for i, argument in enumerate(self._outputs)}
        self._array_runs = ArrayRuns.make(self._inputs, self._outputs)

    def get_inputs(self):
        return list(self._inputs)

    def get_outputs(self):
        return list(self._outputs)

    def get_modelmeta(self):
        return ModelMetadata(self._model.handle)

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def run(self, output_names, input_feed, run_options=None, *, outputs=None):
        """Runs the model; returns the named outputs (None: all) in order.

        `outputs` maps output names to contiguous arrays that results are written to; such an array is also what is returned.
        The global interpreter lock is released while the model runs.
        """
        if outputs is None and self._array_runs:
            results = self._array_runs.run(self.handle, input_feed, run_options and run_options.handle)
            if results is not None:
                return results if output_names is None else [results[self._output_position(name)] for name in output_names]
        given = [None] * len(self._inputs)
        for name, item in input_feed.items():
            index = self._input_index.get(name)
            if index is None:
                raise InvalidArgument(
                    f"the model has no input {name!r}; its inputs are {', '.join(map(repr, self._input_index))}", 2, None)
            given[index] = values.to_value(item, self._inputs[index].handle)
        if output_names is None:
            wanted = range(len(self._outputs))
        else:
            wanted = [self._output_position(name) for name in output_names]
        count = len(self._outputs)
        handles = (c_void_p * max(count, 1))()
        targets = {}
        for name, array in (outputs or {}).items():
            index = self._output_position(name)
            usable = isinstance(array, np.ndarray) and array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
            if not usable:
                raise InvalidArgument(f"output {name!r} must be a contiguous, writable numpy array", 1, None)
            targets[index] = (values.tensor(array), array)
            handles[index] = targets[index][0].handle.value
        inputs = (c_void_p * max(len(given), 1))(*[value and value.handle.value for value in given])
        check(library.apus_session_run(
            self.handle, inputs, len(given), handles, count, run_options.handle if run_options else None))
        results = [None if i in targets else values.Value(c_void_p(handles[i])) for i in range(count)]
        if self._array_runs:
            self._array_runs.learn(input_feed, [values.shape(result) for result in results if result])
        return [targets[i][1] if i in targets else values.from_value(results[i]) for i in wanted]

    def _output_position(self, name):
        index = self._output_index.get(name)
        if index is None:
            raise InvalidArgument(
                f"the model has no output {name!r}; its outputs are {', '.join(map(repr, self._output_index))}", 2, None)
        return index
