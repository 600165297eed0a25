"""The programs that are compared: one module for each kind.

A module has ``versions() -> dict``, ``threads() -> int`` and ``prepare(workload, *arguments)``,
which gives a function of a seed that runs the chains and returns their final states as a NumPy
array, or raises `Unsupported`. ``SAMPLERS`` names those that it has, where that is not
``("langevin",)``. Its imports fail where its library is not installed.
"""

PEERS = {
    "isotherm numba": ("isotherm_backend", "numba"),
    "isotherm torch": ("isotherm_backend", "torch"),
    "isotherm numpy": ("isotherm_backend", "numpy"),
    "TorchEBM": ("torchebm_sampler",),
    "BlackJAX sgld, vmap, jit": ("blackjax_sgld",),
    "BlackJAX mala, vmap, jit": ("blackjax_mala",),
    "posteriors baoa, vmap": ("posteriors_baoa",),
    "torch loop": ("torch_loop",),
    "jax.lax.scan": ("jax_scan",),
    "NumPy loop": ("numpy_loop",),
}
"""The name of each, its module and what its `prepare` is told beside the workload."""


class Unsupported(Exception):  # noqa: N818 - a peer that lacks something is no error
    """Why a program does not do a workload."""
