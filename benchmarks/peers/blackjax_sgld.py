"""BlackJAX's stochastic gradient Langevin dynamics, vmapped over chains and jitted."""

from __future__ import annotations

from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from workloads import NOISE_SCALE, STEP_SIZE, Workload

from peers import Unsupported, jax_scan

threads = jax_scan.threads


def versions() -> dict[str, str]:
    return jax_scan.versions() | {"blackjax": blackjax.__version__}


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    if workload.records:
        raise Unsupported("it has no diagnostics")
    _, gradient = jax_scan.energy_and_gradient(workload)
    sampler = blackjax.sgld(lambda x, _: -gradient(x))

    def chain(key: jax.Array, x: jax.Array) -> jax.Array:
        def step(x: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            return sampler.step(key, x, (), STEP_SIZE, NOISE_SCALE**2), None

        return jax.lax.scan(step, x, jax.random.split(key, workload.n_steps))[0]

    @jax.jit
    def chains(seed: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(seed), workload.n_chains)
        return jax.vmap(chain)(keys, jnp.zeros((workload.n_chains, workload.dim)))

    return lambda seed: np.asarray(jax.block_until_ready(chains(seed)))
