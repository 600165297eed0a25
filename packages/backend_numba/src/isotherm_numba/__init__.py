"""Isotherm's Numba backend: the portable noise stream in compiled loops on the CPU."""

from isotherm_numba.backend import BACKEND, fill_normals

__all__ = ["BACKEND", "fill_normals"]
