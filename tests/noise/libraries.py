"""The array libraries, and their devices, that the noise is compared on."""

import numpy as np

from isotherm._arithmetic.arrays import device_of, namespace
from isotherm._arithmetic.arrays import to_numpy as host_array
from isotherm._backends import registry
from tests import backends


def places() -> list[tuple[str, str]]:
    """Pairs of a library and a device: array-api-strict, and what the usable backends work on."""
    found = {("array_api_strict", "cpu")}
    for name in backends.usable():
        backend = registry.load(name)
        found |= {(backend.library, device) for device in backend.status().devices}
    return sorted(found - {("numpy", "cpu")})


def from_numpy(values, library, dtype, device):
    """An array of the library with the values of a NumPy array."""
    xp = namespace(library)
    return xp.asarray(values, dtype=getattr(xp, dtype), device=device_of(library, device))


def to_numpy(x, library, dtype):
    """A NumPy array with the values of a library's array, in a dtype that holds them."""
    xp = namespace(library)
    x = xp.astype(x, getattr(xp, dtype))
    return np.asarray(x) if library == "array_api_strict" else host_array(x)
