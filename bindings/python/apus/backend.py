"""The onnx.backend.base interface, through which ONNX's own backend tests run against Apus."""
import onnx.backend.base

from .session import InferenceSession


class BackendRep(onnx.backend.base.BackendRep):
    """A prepared model."""

    def __init__(self, session):
        self.session = session

    def run(self, inputs, **options):
        """Inputs by position, or by name in a dict; returns a tuple of the outputs."""
        if not isinstance(inputs, dict):
            inputs = {argument.name: value for argument, value in zip(self.session.get_inputs(), inputs)}
        return tuple(self.session.run(None, inputs))


class Backend(onnx.backend.base.Backend):
    """Apus as a backend of ONNX: CPU only."""

    @classmethod
    def supports_device(cls, device):
        return device == "CPU"

    @classmethod
    def prepare(cls, model, device="CPU", **options):
        if not cls.supports_device(device):
            raise ValueError(f"Apus runs on the CPU, not on {device}")
        return BackendRep(InferenceSession(model.SerializeToString(), options.get("sess_options")))

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **options):
        return cls.prepare(model, device, **options).run(inputs)


prepare = Backend.prepare
run_model = Backend.run_model
supports_device = Backend.supports_device
