"""The Gaussian's quadratic form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import Array, array_origin, move
from isotherm._arithmetic.sums import total_of_terms
from isotherm._energies.formulas import FormulaEnergy, formula
from isotherm._energies.origin import Quadratic
from isotherm._energies.parameters import DESCRIPTION, FixedParameters, finite_numbers, place_of
from isotherm._transitions.program import Kind
from isotherm.errors import InputError, array_repr

#: Coordinates up to which the order of the sums in the quadratic form is written.
WRITTEN_ORDER = 64


@formula(dim=None)
def _quadratic(x: Any, *, mean: Any, precision: Any) -> Any:
    d = x - mean
    return 0.5 * np.sum(d * (precision @ d))


class GaussianEnergy(FixedParameters):
    """½ (x - mean)ᵀ Σ⁻¹ (x - mean), for any covariance Σ.

    Parameters
    ----------
    mean : array, shape (dim,)
    cov : array, shape (dim, dim)
        Symmetric and positive definite.
    device : str or device, optional
        Where to sample by default; by default where `mean` and `cov` are.

    Attributes
    ----------
    dim : int
    mean, precision : float64 array, shapes (dim,) and (dim, dim)
        μ and Σ⁻¹, in host memory.
    library, dtype, device : str or None
        Of `mean` and `cov`, where they were given as arrays.

    Raises
    ------
    InputError
        Shapes do not fit, or `cov` is not symmetric positive definite.
    """

    __array_ufunc__ = None
    _set_once = (*DESCRIPTION, "mean", "cov", "precision")
    is_portable = True
    kind = Kind.QUADRATIC
    dim: int

    def __init__(self, mean: Any, cov: Any, device: object = None) -> None:
        self.name = "GaussianEnergy"
        self.library, self.dtype, self.device = array_origin((mean, cov), device)
        self.mean = finite_numbers(self.name, "mean", mean)
        self.cov = finite_numbers(self.name, "cov", cov)
        if self.mean.ndim != 1 or self.mean.size == 0:
            raise InputError(f"GaussianEnergy: mean must have shape (dim,), not {self.mean.shape}")
        self.dim = self.mean.shape[0]
        if self.cov.shape != (self.dim, self.dim):
            raise InputError(
                f"GaussianEnergy: mean has {self.dim} elements, so cov must have shape "
                f"{(self.dim, self.dim)}, not {self.cov.shape}"
            )
        self.precision = _inverse_of_covariance(self.cov)
        self._moved: dict[tuple[str, str, str], tuple[Array, Array]] = {}

    def __call__(self, x: Array) -> Array:
        """The energy of each chain: x has shape (n_samples, dim), the result (n_samples,).

        The total of one term a coordinate, ½ (x - mean)_j (Σ⁻¹ (x - mean))_j.
        """
        mean, precision = self._parameters(x)
        centred = x - mean
        return total_of_terms(0.5 * (centred * _product(precision, centred)))

    def gradient(self, x: Array) -> Array:
        """Σ⁻¹ (x - mean) for each chain, of the shape of `x`."""
        mean, precision = self._parameters(x)
        return _product(precision, x - mean)

    def used_numbers(self) -> Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]:
        return {"mean": self.mean, "precision": self.precision}

    def numbers(self) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """The numbers by which Gaussians of one dimension differ."""
        return [self.mean, self.cov]  # the inverse has other last bits on another machine

    def form(self, event_shape: tuple[int, ...]) -> Quadratic:
        """The quadratic form."""
        return Quadratic(self.dim)

    def parameter_values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The mean and the precision's rows, shape (dim + dim²,)."""
        return np.concatenate([self.mean, self.precision.ravel()])

    def as_formula(self) -> FormulaEnergy:
        """The same energy as a formula, which adds to others."""
        parameters = {"mean": self.mean, "precision": self.precision}
        energy = FormulaEnergy(_quadratic, parameters, dim=self.dim)
        parts = (replace(energy._parts[0], made_of=(self.mean, self.cov)),)
        description = {name: getattr(self, name) for name in ("name", "library", "dtype", "device")}
        return energy._renewed(parts, **description)

    def __add__(self, other: Any) -> FormulaEnergy:
        return self.as_formula().__add__(other)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> FormulaEnergy:
        return self.as_formula().__mul__(factor)

    __rmul__ = __mul__

    def _parameters(self, x: Array) -> tuple[Array, Array]:
        key = place_of(self.name, x)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise InputError(
                f"x has shape {tuple(x.shape)} but the energy has dimension {self.dim}"
            )
        if key not in self._moved:
            self._moved[key] = (move(self.mean, *key), move(self.precision, *key))
        return self._moved[key]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_moved": {}}  # bound to a device: moved again where needed

    def __repr__(self) -> str:
        return f"GaussianEnergy(mean={array_repr(self.mean)}, cov={array_repr(self.cov)})"


def _product(precision: Array, centred: Array) -> Array:
    """The precision times each chain's distance from the mean.

    Each row's products are added in the order of the columns, so that all backends have the same
    bits; beyond `WRITTEN_ORDER` coordinates the order is that of the library's matrix product.
    """
    dim = centred.shape[1]
    if dim > WRITTEN_ORDER:
        return centred @ precision
    xp = compat.array_namespace(centred)
    # Coordinate by coordinate, so that operations run along the chains.
    rows = xp.stack([centred[:, k] for k in range(dim)])
    sums = precision[:, :1] * rows[0, ...]
    for k in range(1, dim):
        sums += precision[:, k : k + 1] * rows[k, ...]
    return xp.stack([sums[j, ...] for j in range(dim)], axis=1)


def _inverse_of_covariance(
    cov: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Σ⁻¹, symmetric to the bit; Σ is refused where it is not a covariance."""
    # A covariance that came through float32 is symmetric only to its rounding.
    asymmetry = np.abs(cov - cov.T).max()
    if asymmetry > np.finfo(np.float32).eps * np.abs(cov).max():
        raise InputError(
            "GaussianEnergy: cov must be symmetric; it differs from its transpose by "
            f"{asymmetry:.3g} (pass (cov + cov.T) / 2 if that is what you mean)"
        )
    symmetric = cov / 2 + cov.T / 2
    lowest = np.linalg.eigvalsh(symmetric)[0]
    if lowest <= 0:
        raise InputError(
            "GaussianEnergy: cov must be positive definite; its smallest eigenvalue is "
            f"{lowest:.3g} (add a small multiple of the identity if it should be)"
        )
    inverse = np.linalg.inv(symmetric)
    inverse = inverse / 2 + inverse.T / 2
    if not np.isfinite(inverse).all():
        raise InputError(
            f"GaussianEnergy: cov has the eigenvalue {lowest:.3g}, too small to be inverted in "
            "float64; scale the coordinates"
        )
    inverse.flags.writeable = False
    return inverse
