"""Isotherm's CuPy backend: CuPy arrays in, CuPy arrays out."""

from isotherm_cupy.backend import BACKEND, CupyBackend
from isotherm_cupy.cuda_energy import CudaEnergy
from isotherm_cupy.torch_energy import TorchEnergy

__all__ = ["BACKEND", "CudaEnergy", "CupyBackend", "TorchEnergy"]
