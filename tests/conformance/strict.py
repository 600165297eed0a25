"""A backend on array-api-strict, which has only what the array API standard has."""

from isotherm.backend import PLAN_VERSION, ArrayLoop, InputError, Status


class StrictBackend:
    name = "array_api_strict"
    library = "array_api_strict"
    plan_version = PLAN_VERSION
    device_kinds = ("cpu",)
    kernels_for = ()
    priority = 0

    def status(self):
        return Status(None, ("cpu",), {})

    def resolve_device(self, device):
        if device not in (None, "cpu"):
            raise InputError(f"device {device!r} does not exist; there is only 'cpu'")
        return "cpu"

    def available_memory(self, device):
        return None

    def fresh_seed(self, source):
        return None

    def supports(self, plan, energy):
        return None if hasattr(energy, "gradient") else "the energy has no gradient"

    def has_kernel(self, plan, energy):
        return False

    def prepare(self, plan, energy):
        return ArrayLoop(plan, energy, energy.gradient)
