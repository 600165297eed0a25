"""Isotherm's PyTorch backend: tensors in, tensors out, energies differentiated by autograd."""

from isotherm_torch.backend import BACKEND, TorchBackend

__all__ = ["BACKEND", "TorchBackend"]
