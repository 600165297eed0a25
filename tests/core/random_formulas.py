"""The random formulas of `isotherm.testing`, and what their values and slopes truly are."""

import mpmath

from isotherm.testing.formulas import N_PARAMETERS, formula_energy, random_energy, trees

__all__ = ["N_PARAMETERS", "Exact", "formula_energy", "random_energy", "trees"]


class Exact:
    """`isotherm.math` on mpmath's numbers."""

    sqrt, exp, log, sin, cos, tanh = (
        staticmethod(getattr(mpmath, name)) for name in ("sqrt", "exp", "log", "sin", "cos", "tanh")
    )
    minimum, maximum = staticmethod(min), staticmethod(max)

    @staticmethod
    def where(condition, a, b):
        return a if condition else b
