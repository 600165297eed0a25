"""The inverse mass: what a plan holds of it, and its roots."""

from __future__ import annotations

from typing import Any

import numpy as np

from isotherm._arithmetic.factors import cholesky, solve
from isotherm._transitions.program import Mass


class InverseMass:
    """M⁻¹: one number a coordinate, or a symmetric positive definite matrix.

    A coordinate whose number is 0 is frozen: its mass is infinite, so that neither gradient nor
    noise moves it and it has no kinetic energy, whatever the sampler.

    Parameters
    ----------
    values : array, shape (dim,) or (dim, dim)
    """

    __slots__ = ("values",)

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, dtype=np.float64)
        self.values.flags.writeable = False

    @property
    def kind(self) -> Mass:
        return Mass.VECTOR if self.values.ndim == 1 else Mass.MATRIX

    @property
    def n_frozen(self) -> int:
        """How many coordinates do not move."""
        return int(np.count_nonzero(self.values == 0.0)) if self.values.ndim == 1 else 0

    def factors(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """M⁻¹, a root R of M (R Rᵀ = M), and a root of M⁻¹, by the names that transitions use.

        For a matrix M⁻¹ = L Lᵀ (Cholesky), so that L is a root of M⁻¹ and its transposed inverse
        one of M. Both are made in a written order, in float64: a library's differ in the last bits
        from machine to machine.
        """
        if self.values.ndim == 1:
            root = np.sqrt(self.values)
            return {
                "inverse_mass": self.values,
                "mass_root": np.divide(1.0, root, out=np.zeros_like(root), where=root > 0.0),
                "inverse_mass_root": root,
            }
        lower = cholesky(self.values)
        return {
            "inverse_mass": self.values,
            "mass_root": np.ascontiguousarray(solve(lower, np.eye(len(lower))).T),
            "inverse_mass_root": lower,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InverseMass) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def __repr__(self) -> str:
        return f"InverseMass({self})"

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        if self.n_frozen:
            return f"{shape} numbers, {self.n_frozen} of them 0: frozen coordinates"
        diagonal = self.values if self.values.ndim == 1 else np.diagonal(self.values)
        return f"{shape} numbers, {diagonal.min():.3g} to {diagonal.max():.3g} on the diagonal"
