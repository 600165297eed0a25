"""Isotherm's CuPy backend: CuPy arrays in, CuPy arrays out."""

from isotherm_cupy.backend import BACKEND, CupyBackend
from isotherm_cupy.networks import TorchEnergy
from isotherm_cupy.snippets import CudaEnergy

__all__ = ["BACKEND", "CudaEnergy", "CupyBackend", "TorchEnergy"]
