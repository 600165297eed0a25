"""Energies of which only the score is known: ∇ log p, as a trained network gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from isotherm._arithmetic.arrays import Array
from isotherm._energies.origin import Declared, origin
from isotherm._energies.users import check_keywords
from isotherm.errors import InputError, short_repr


class ScoreEnergy(Declared):
    """An energy with a gradient and no value, for samplers that need none.

    Parameters
    ----------
    function : callable
        s(x) = ∇ log p(x) = -∇U(x): x of shape (n_samples, *event_shape) → the same shape. Further
        keywords come from ``model_kwargs``.
    dim : int or tuple of int, optional
        The shape of a state, where the function takes only one.
    library : str, optional
        Whose arrays the function takes: ``"numpy"``, ``"torch"``, ``"cupy"``.
    """

    def __init__(
        self,
        function: Callable[..., Array],
        dim: int | tuple[int, ...] | None = None,
        library: str | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"a score is a function of x; got {short_repr(function)}")
        self.name = getattr(function, "__name__", type(function).__name__)
        self.dim = dim
        self.function = function
        found, self.dtype, self.device = origin(function)
        self.library = library or found

    def gradient(self, x: Array) -> Array:
        """-s(x), of the shape of `x`."""
        return -self.function(x)

    def asked(self) -> Callable[..., Array]:
        return self.function

    def with_keywords(self, keywords: Mapping[str, Any]) -> ScoreEnergy:
        """The same with keywords that the function receives at every call."""
        check_keywords("the score", self.function, keywords)
        bound = ScoreEnergy.__new__(ScoreEnergy)
        bound.__dict__ |= self.__dict__ | {"function": partial(self.function, **keywords)}
        return bound

    def told(
        self, name: str, value: float, keywords: Mapping[str, Any] | None
    ) -> tuple[ScoreEnergy, Mapping[str, Any] | None]:
        """A condition is one of the keywords that the function receives."""
        return self, {**(keywords or {}), name: value}

    def __repr__(self) -> str:
        return f"score({self.name})"


def score(
    function: Callable[..., Array],
    *,
    dim: int | tuple[int, ...] | None = None,
    library: str | None = None,
) -> ScoreEnergy:
    """Make an energy of a score function, for samplers that need no value of U.

    Those are the unadjusted ones, ``"langevin"`` and ``"underdamped"``, without diagnostics, which
    hold energies.

    Parameters
    ----------
    function, dim, library
        See `ScoreEnergy`.

    Returns
    -------
    ScoreEnergy
        Goes where an energy does.

    Examples
    --------
    >>> import isotherm
    >>> normal = isotherm.score(lambda x: -x, dim=2)
    >>> isotherm.sample_chain(normal, n_samples=100, n_steps=10, backend="numpy").shape
    (100, 2)
    """
    return ScoreEnergy(function, dim, library)
