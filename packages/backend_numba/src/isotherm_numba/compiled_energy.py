"""Energies that no formula can say: loops, branches, tables, for one chain in compiled Python."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from isotherm.backend import (
    Declared,
    EnergyWarning,
    InputError,
    plain_name,
    printable,
    short_repr,
    to_numpy,
    what_is_read,
)

_STEP = float(np.finfo(np.float64).eps) ** 0.2
_SHORTEST = 1e-6  # of the step that differences shrink to
_ONE_SIDED = (48.0, -36.0, 16.0, -3.0)
_ASKED = 4, 16  # chains and coordinates at which slopes are checked
_CLOSE = 1e-3  # of the largest slope, or of 1 if that is more: what two ways may differ by
_KEPT = 64  # functions, and what they read, that stay compiled


class CompiledEnergy(Declared):
    """An energy from two functions of one chain, which Numba compiles into the fused loop.

    Parameters
    ----------
    energy : callable
        ``energy(x) -> float``; x is the state of one chain, an array of shape (dim,), in C order
        where a state has several axes. A plain function, or one of ``numba.njit``.
    gradient : callable, optional
        ``gradient(x, out)`` writes ∇U(x) to `out`, of shape (dim,). It must write every element
        and not write to x. Without it U is differentiated by differences, in float64: four calls
        of `energy` a coordinate, so for few coordinates, and right to about ten digits where U
        is smooth. It is not right within 1.5e-3 of a kink or a step of finite height (twice the
        step of the differences; of |x| if that is more than 1), nor where U is large beside its
        changes over such a step. Near an edge beyond which U is infinite or NaN it is that of the
        side on which the state is.
    dim : int, optional
        The only number of coordinates that it takes; any by default.

    Attributes
    ----------
    functions : tuple of callable
        `energy` and `gradient`, as given; None for a gradient that is made of differences.

    Raises
    ------
    InputError
        On first use: Numba cannot compile a function; the message shows the line.

    Notes
    -----
    Both are called from several threads at once, without Python's lock, and compiled once a
    process for what they read from outside: a changed global or closure is seen by the next run.
    What is in functions of ``numba.njit``, these themselves or what they call, and in objects
    stays as it was when they were compiled.

    When a run begins, differences of U are taken at some starts with two steps, and compared with
    each other and with `gradient`; an `EnergyWarning` says where they are not the same.

    Examples
    --------
    >>> import numpy as np, isotherm
    >>> from isotherm_numba import CompiledEnergy
    >>> def energy(x):
    ...     total = 0.0
    ...     for i in range(x.size):
    ...         total += abs(x[i]) if abs(x[i]) > 1 else 0.5 * (x[i] * x[i] + 1)
    ...     return total
    >>> def gradient(x, out):
    ...     for i in range(x.size):
    ...         out[i] = np.sign(x[i]) if abs(x[i]) > 1 else x[i]
    >>> huber = CompiledEnergy(energy, gradient)
    >>> isotherm.sample_chain(huber, dim=3, n_samples=100, n_steps=50, step_size=0.01).shape
    (100, 3)
    """

    def __init__(
        self,
        energy: Callable[[Any], float],
        gradient: Callable[[Any, Any], None] | None = None,
        dim: int | None = None,
    ) -> None:
        for role, function in (("energy", energy), ("gradient", gradient)):
            if role == "gradient" and function is None:
                continue
            # A function of `numba.njit` tells what it was made of.
            if not isinstance(getattr(function, "py_func", function), FunctionType):
                raise InputError(
                    f"CompiledEnergy: {role} must be a function that Numba compiles, not "
                    f"{short_repr(function)}; of a partial function, a method or an object write "
                    "one that reads what they hold: def energy(x): return ..."
                )
        self.name = printable(getattr(energy, "__name__", "CompiledEnergy"))
        self.dim = dim
        self.functions = energy, gradient

    def __call__(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The energy of each chain, shape (n_samples,); x has shape (n_samples, *event_shape)."""
        rows, out = self._rows(x), np.empty(len(x), x.dtype)
        energy, _ = compile_for(self.functions, x.dtype)
        for i, row in enumerate(rows):
            out[i] = energy(row)
        return out

    def gradient(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The gradient at each chain's state, of the shape of `x`."""
        rows, out = self._rows(x), np.empty((len(x), x[0].size), x.dtype)
        _, gradient = compile_for(self.functions, x.dtype)
        for row, slope in zip(rows, out, strict=True):
            gradient(row, slope)
        return out.reshape(x.shape)

    def __repr__(self) -> str:
        names = [printable(f.__name__) for f in self.functions if f is not None]
        return f"CompiledEnergy({', '.join(names)})"

    def _rows(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = np.ascontiguousarray(to_numpy(x)).reshape(len(x), -1)
        if self.dim not in (None, rows.shape[1]):  # compiled functions do not check their indices
            raise InputError(f"x has shape {x.shape} but the energy has dimension {self.dim}")
        return rows


def compile_for(functions: tuple[Any, Any], dtype: Any) -> tuple[Any, Any]:
    """The functions of a `CompiledEnergy` as Numba's, compiled for states of a dtype."""
    import numba

    from isotherm_numba.codegen_cache import uninterrupted

    row = numba.from_dtype(np.dtype(dtype))[::1]
    energy = _dispatcher(functions[0])
    gradient = _slopes(energy) if functions[1] is None else _dispatcher(functions[1])
    if numba.config.DISABLE_JIT:  # as Python runs them
        return energy, gradient
    for role, dispatcher, types in (("energy", energy, (row,)), ("gradient", gradient, (row, row))):
        try:
            with uninterrupted():
                dispatcher.compile(types)
        except numba.core.errors.NumbaError as error:
            raise InputError(_explained(role, dispatcher.py_func, error)) from error
        returned = dispatcher.overloads[types].signature.return_type
        expected = numba.types.Number if role == "energy" else numba.types.NoneType
        if not isinstance(returned, expected):
            wanted = "return a number" if role == "energy" else "write to out and return nothing"
            raise InputError(f"CompiledEnergy: {role} must {wanted}; it returns {returned}")
    return energy, gradient


def check_slopes(name: str, functions: tuple[Any, Any], x: np.ndarray[Any, Any]) -> None:
    """Compare the slopes of U by two steps, and those that are given, at some of the states.

    Warns
    -----
    EnergyWarning
        They differ.
    """
    function, slopes = functions
    energy, given = _dispatcher(function), None if slopes is None else _dispatcher(slopes)
    rows, columns = x[: _ASKED[0]], slice(_ASKED[1])
    states = [row.astype(np.float64) for row in rows]
    count = len(states[0][columns]) if states else 0
    with np.errstate(all="ignore"):
        near, far = (
            np.array([[_difference(energy, s, i, factor) for i in range(count)] for s in states])
            for factor in (_STEP, 2.0 * _STEP)
        )
        finite = np.abs(near[np.isfinite(near)])
        allowed = _CLOSE * max(1.0, finite.max(initial=0.0))
        size = np.array([abs(float(energy(s))) for s in states])[:, None]
        rounding = np.finfo(np.float64).eps * size / _STEP  # both steps may lose the same digits
        is_sure = np.abs(near - far) + rounding <= allowed  # false for NaN
    if given is None:
        if not is_sure.all():
            i, j = np.argwhere(~is_sure)[0]
            warnings.warn(
                f"{name}: the slope of U by differences at the start of chain {i}, coordinate {j}, "
                f"is {near[i, j]:.6g} with one step and {far[i, j]:.6g} with twice that step, "
                "because of a kink or a wall nearby, or as U is large beside its changes; give "
                "CompiledEnergy a gradient",
                EnergyWarning,
                stacklevel=2,
            )
        return
    slopes = np.zeros_like(rows)
    for row, out in zip(rows, slopes, strict=True):
        given(row.copy(), out)
    is_wrong = is_sure & ~(np.abs(slopes[:, columns] - near) <= 10.0 * allowed)
    if is_wrong.any():
        i, j = np.argwhere(is_wrong)[0]
        warnings.warn(
            f"{name}: at the start of chain {i}, coordinate {j}, gradient writes "
            f"{slopes[i, j]:.6g}, but U has the slope {near[i, j]:.6g} by differences; one of the "
            "two functions is wrong",
            EnergyWarning,
            stacklevel=2,
        )


def _dispatcher(function: Any) -> Any:
    import numba

    if isinstance(function, numba.core.dispatcher.Dispatcher):
        return function
    try:
        read = what_is_read(function) if isinstance(function, FunctionType) else None
    except ValueError:  # what no formula may read; Numba may
        read = None
    return _compiled(function, read)


@lru_cache(_KEPT)
def _compiled(function: Any, read: object) -> Any:
    """Numba takes what a function reads as it is, for ever: it is another one for other values."""
    import numba

    if isinstance(function, FunctionType):  # Numba makes identifiers of names
        function = FunctionType(
            function.__code__,
            function.__globals__,
            plain_name(function.__name__),
            function.__defaults__,
            function.__closure__,
        )
    return numba.njit(nogil=True, error_model="numpy")(function)


def _difference(energy: Any, state: Any, i: int, relative: float) -> Any:
    """The derivative by one coordinate (Abramowitz and Stegun, 25.3.6).

    Where the differences reach over an edge, beyond which U has no finite value, the step shrinks:
    to an eighth of one that stays inside, as U may rise to the edge as a logarithm does. On the
    edge itself they are those of the other side (Fornberg, Math. Comp. 51, 1988, table 3).
    """
    here, slope, was_finite = state[i], np.nan, True
    longest = step = relative * max(abs(here), 1.0)
    while step > longest * _SHORTEST:
        state[i] = here + step
        near = energy(state)
        state[i] = here - step
        near -= energy(state)
        state[i] = here + 2.0 * step
        far = energy(state)
        state[i] = here - 2.0 * step
        far -= energy(state)
        state[i] = here
        slope = (8.0 * near - far) / (12.0 * step)
        if np.isfinite(slope) and was_finite:
            return slope
        was_finite = np.isfinite(slope)
        step /= 8.0
    for side in (longest, -longest):
        slope = -25.0 * energy(state)
        for k in range(1, 5):
            state[i] = here + k * side
            slope += _ONE_SIDED[k - 1] * energy(state)
        state[i] = here
        if np.isfinite(slope):
            return slope / (12.0 * side)
    return np.nan


@lru_cache(_KEPT)
def _slopes(energy: Any) -> Any:
    """The gradient of a function of one chain, by differences that are exact up to fifth powers.

    Functions with branches and tables have no derivative that complex steps or dual numbers find
    without a word where they are wrong: abs() of a complex number is one of a real one's.
    """
    import numba

    difference = numba.njit(nogil=True, error_model="numpy")(_difference)

    @numba.njit(nogil=True, error_model="numpy")
    def gradient(x: Any, out: Any) -> None:
        state = x.astype(np.float64)
        for i in range(x.size):
            # The fifth root of the rounding error balances it with the difference's own, h⁴.
            out[i] = difference(energy, state, i, _STEP)

    return gradient


def _explained(role: str, function: Any, error: Any) -> str:
    """One sentence of Numba's page: the line, the reason and what to do."""
    loc = getattr(error, "loc", None)
    file = function.__code__.co_filename
    number = loc.line if loc is not None and loc.filename == file else None
    number = function.__code__.co_firstlineno if number is None else number
    line = linecache.getline(file, number).strip()
    reason = next((text for text in str(error.msg).splitlines() if text.strip()), "unknown")
    return (
        f"CompiledEnergy: Numba cannot compile {role}, line {number}: {line} ({reason}); use "
        "numbers, arrays and functions that Numba knows, or give an object with __call__ and "
        "gradient on whole arrays"
    )
