"""Energies written in CUDA C++, for one chain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm.backend import (
    Array,
    FixedParameters,
    InputError,
    Parameters,
    device_name,
    finite_numbers,
    library_of,
    on_own_device,
    short_repr,
)
from isotherm_cupy.modules import Compile, Module, compile_for_device
from isotherm_cupy.nvrtc import CompileError
from isotherm_cupy.source import assemble

_TAKEN = frozenset({"x", "out", "dim", "real"})


class CudaEnergy(FixedParameters):
    """An energy from the bodies of two CUDA C++ functions of one chain, compiled into its kernel.

    For what no formula says: loops with a condition, tables, branches.

    Parameters
    ----------
    energy : str
        Body of ``real energy(const real* x, ...)``, which returns U(x). ``real`` is float or
        double, as the chains are; ``x`` holds the ``dim`` coordinates of one chain, in C order
        where a state has several axes; ``...`` are the parameters.
    gradient : str
        Body of ``void gradient(const real* x, real* out, ...)``, which writes ∇U(x) to ``out``. It
        must write all ``dim`` elements, not write to ``x``, and not take ``out`` for ``x``.
    parameters : mapping of str to number or array, optional
        Numbers are ``real`` in both functions, arrays ``const real*`` to their elements in C order.
        Their values are passed when chains run: other values compile nothing.
    dim : int, optional
        The only number of coordinates that it takes; any by default.

    Raises
    ------
    InputError
        A parameter's name or value is not usable; or, when it first runs, the compiler refuses a
        function: the message shows its line.

    Notes
    -----
    Products and sums are not contracted into fused ones; call ``fma`` where one is wanted.

    Examples
    --------
    >>> from isotherm_cupy import CudaEnergy
    >>> huber = CudaEnergy(
    ...     energy='''
    ...         real total = 0;
    ...         for (int i = 0; i < dim; ++i) {
    ...             const real a = fabs(x[i]);
    ...             total += a > width ? width * (a - width / 2) : a * a / 2;
    ...         }
    ...         return total;
    ...     ''',
    ...     gradient='''
    ...         for (int i = 0; i < dim; ++i)
    ...             out[i] = x[i] > width ? width : x[i] < -width ? -width : x[i];
    ...     ''',
    ...     parameters={"width": 1.5},
    ... )
    """

    name = "CudaEnergy"
    library = "cupy"
    _compile: Compile = staticmethod(compile_for_device)

    def __init__(
        self,
        energy: str,
        gradient: str,
        parameters: Mapping[str, Any] | None = None,
        dim: int | None = None,
    ) -> None:
        for role, body in (("energy", energy), ("gradient", gradient)):
            if not isinstance(body, str):
                raise InputError(
                    f"CudaEnergy: {role} must be the text of a function's body in CUDA C++, not "
                    f"{type(body).__name__}"
                )
        self._bodies = {"energy": energy, "gradient": gradient}
        self.dim = dim
        self.parameters = Parameters(
            (_checked(name), finite_numbers("CudaEnergy", name, value))
            for name, value in (parameters or {}).items()
        )
        self._prepared: dict[tuple[str, int, str], tuple[Module, Array]] = {}

    def __call__(self, x: Array) -> Array:
        """The energy of each chain, shape (n_samples,); x has shape (n_samples, *event_shape)."""
        with on_own_device(x):
            xp, rows, module, values = self._ready(x)
            n, dim = rows.shape
            out = xp.empty(n, dtype=x.dtype)
            sizes = [np.int64(dim), np.int64(0), np.int64(n), np.int64(1), np.int32(dim)]
            module.launch("energies", n, [rows, *sizes, values, out])
            return out

    def gradient(self, x: Array) -> Array:
        """The gradient at each chain's state, of the shape of `x`."""
        with on_own_device(x):
            xp, rows, module, values = self._ready(x)
            out = xp.empty(rows.shape, dtype=x.dtype)
            module.launch("gradients", len(rows), [rows, np.int64(len(rows)), values, out])
            return xp.reshape(out, x.shape)

    def __repr__(self) -> str:
        return f"CudaEnergy(parameters={self.parameters}, dim={self.dim})"

    def source(self) -> str:
        """The functions as the kernels call them."""
        declared = "".join(
            f", const real{'*' if value.ndim else ''} {name}"
            for name, value in self.parameters.items()
        )
        passed, offset = "", 0
        for value in self.parameters.values():
            passed += f", uniform.at + {offset}" if value.ndim else f", uniform.at[{offset}]"
            offset += value.size
        return _SOURCE.format(declared=declared, passed=passed, **self._bodies)

    def parameter_values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values of the parameters, one after the other."""
        return np.concatenate([np.empty(0), *(v.ravel() for v in self.parameters.values())])

    def explained(self, log: str) -> InputError:
        """What the compiler said, with the line of the body."""
        found = re.search(r"^(energy|gradient)[(:](\d+)\D.*?error: *(.*)$", log, re.MULTILINE)
        if found is None:
            return InputError(f"CudaEnergy: the compiler refuses its functions: {log}")
        role, number, reason = found[1], int(found[2]), found[3]
        lines = self._bodies[role].splitlines()
        line = lines[number - 1].strip() if number <= len(lines) else "its end"
        return InputError(f"CudaEnergy: {role}, line {number}: {line} ({reason})")

    def _ready(self, x: Array) -> tuple[Any, Array, Module, Array]:
        if library_of(x) != self.library or str(x.dtype) not in ("float32", "float64"):
            raise InputError(
                f"CudaEnergy takes arrays of {self.library}, float32 or float64; got {x.dtype} of "
                f"{library_of(x)}"
            )
        xp = compat.array_namespace(x)
        rows = xp.reshape(xp.asarray(x, order="C"), (x.shape[0], -1))
        if self.dim not in (None, rows.shape[1]):
            raise InputError(f"x has shape {x.shape} but the energy has dimension {self.dim}")
        place = str(x.dtype), rows.shape[1], device_name(x)
        if place not in self._prepared:
            self._prepared[place] = self._prepare(xp, *place[:2])
        return xp, rows, *self._prepared[place]

    def _prepare(self, xp: Any, dtype: str, dim: int) -> tuple[Module, Array]:
        parts = (self.source(), "energies.cu", "gradients.cu")
        text = assemble(dtype, *parts, constants={"DIM": dim})
        try:
            module = self._compile(text)
        except CompileError as error:
            raise self.explained(str(error)) from error
        # A pointer to nothing is no array: one number more.
        return module, xp.asarray(np.append(self.parameter_values(), 0.0).astype(dtype))


# Each #line makes the compiler count from the body's first line, as its writer does.
_SOURCE = """
namespace users {{
typedef REAL real;
constexpr int dim = DIM;
__device__ __forceinline__ real energy(const real* x{declared}) {{
#line 1 "energy"
{energy}
}}
__device__ __forceinline__ void gradient(const real* x, real* out{declared}) {{
#line 1 "gradient"
{gradient}
}}
}}
#line 1 "calls"
struct Uniform {{
    const REAL* at;
    __device__ __forceinline__ explicit Uniform(const REAL* parameters) : at(parameters) {{}}
}};
__device__ __forceinline__ REAL energy(const REAL* x, const Uniform& uniform) {{
    return users::energy(x{passed});
}}
__device__ __forceinline__ void gradient(const REAL* x, REAL* out, const Uniform& uniform) {{
    users::gradient(x, out{passed});
}}
"""


def _checked(name: str) -> str:
    is_word = isinstance(name, str) and name.isidentifier() and name.isascii()
    if not is_word or name in _TAKEN:
        raise InputError(
            f"CudaEnergy: {short_repr(name)} cannot be a parameter's name; take a word of C++ that "
            f"is none of {', '.join(sorted(_TAKEN))}"
        )
    return name
