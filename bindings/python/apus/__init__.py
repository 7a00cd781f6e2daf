"""Apus: runs ONNX models on a CPU. `InferenceSession` reads like onnxruntime's."""
from ._library import library as _library
from .errors import ApusError, Interrupted, InvalidArgument, InvalidModel, MemoryLimit, RuntimeFailure
from .operators import Node, ValueType
from .quantization import quantize
from .session import (
    ExecutionMode, GraphOptimizationLevel, InferenceSession, Model, ModelMetadata, NodeArg, Pool, RunOptions, SessionOptions)
from .values import SparseTensor

__version__ = _library.apus_version().decode()
__all__ = [
    "ApusError", "ExecutionMode", "GraphOptimizationLevel", "InferenceSession", "Interrupted", "InvalidArgument", "InvalidModel",
    "MemoryLimit", "Model", "ModelMetadata", "Node", "NodeArg", "Pool", "RunOptions", "RuntimeFailure", "SessionOptions", "SparseTensor",
    "ValueType",
    "get_available_providers", "quantize",
]


def get_available_providers():
    """As in onnxruntime: there is only the CPU."""
    return ["CPUExecutionProvider"]
