"""The functions that a printed program calls."""

from numpy import abs, cos, exp, log, sin, sqrt, tanh  # noqa: A004

__all__ = ["abs", "cos", "exp", "log", "sin", "sqrt", "tanh"]
