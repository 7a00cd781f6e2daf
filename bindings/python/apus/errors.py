"""Exceptions by error family; codes are those of apus.h."""
import threading

from ._library import library


class ApusError(Exception):
    """Any failure that Apus reports: `code` (a number of apus.h) and `node` (what it concerns, or None)."""

    def __init__(self, message, code, node):
        super().__init__(message)
        self.code, self.node = code, node


class InvalidArgument(ApusError, ValueError):
    """An argument, name, type or shape given by the caller is wrong (codes 1-19)."""


class InvalidModel(ApusError):
    """The model cannot be read, is malformed or uses what is unknown (codes 20-39)."""


class RuntimeFailure(ApusError, RuntimeError):
    """An operator met values that it cannot work on (codes 40-59), or Apus is at fault (100)."""


class MemoryLimit(ApusError, MemoryError):
    """A memory limit would have been passed, or the system has no memory (codes 60-79)."""


class Interrupted(ApusError):
    """The run was cancelled or passed its deadline (codes 80-99)."""


_FAMILIES = [InvalidArgument, InvalidModel, RuntimeFailure, MemoryLimit, Interrupted]


#: `exception`: what a Python function of an operator raised on this thread, on its way through the library, and its text.
failure = threading.local()


def check(error):
    """Raises the exception of an error handle and destroys it; does nothing for None."""
    if not error:
        return
    code = library.apus_error_get_code(error)
    message = library.apus_error_message(error).decode("utf-8", "replace")
    node = library.apus_error_node(error)
    library.apus_error_destroy(error)
    (cause, text), failure.exception = getattr(failure, "exception", (None, "")), (None, "")
    # The library may have lived with an earlier one: a branch that cannot be inferred need not be taken.
    if text not in message:
        cause = None
    if cause is not None and not isinstance(cause, Exception):
        raise cause
    family = _FAMILIES[code // 20] if code < 100 else RuntimeFailure
    raise family(message, code, node.decode("utf-8", "replace") if node is not None else None) from cause
