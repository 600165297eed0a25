"""Isotherm's CuPy backend: CuPy arrays in, CuPy arrays out."""

from isotherm_cupy.backend import BACKEND, CupyBackend

__all__ = ["BACKEND", "CupyBackend"]
