"""Isotherm's Numba backend: whole chains in compiled loops on the CPU."""

from isotherm_numba.backend import BACKEND, fill_normals, segments
from isotherm_numba.compiled_energy import CompiledEnergy

__all__ = ["BACKEND", "CompiledEnergy", "fill_normals", "segments"]
