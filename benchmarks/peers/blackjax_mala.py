"""BlackJAX's Metropolis-adjusted Langevin algorithm, vmapped over chains and jitted."""

from __future__ import annotations

from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from workloads import Workload

from peers import blackjax_sgld, jax_scan

SAMPLERS = ("mala",)
threads, versions = jax_scan.threads, blackjax_sgld.versions


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    energy, _ = jax_scan.energy_and_gradient(workload)
    sampler = blackjax.mala(lambda x: -energy(x), workload.step_size)

    def chain(key: jax.Array, x: jax.Array) -> jax.Array:
        def step(state: object, key: jax.Array) -> tuple[object, None]:
            return sampler.step(key, state)[0], None

        keys = jax.random.split(key, workload.n_steps)
        return jax.lax.scan(step, sampler.init(x), keys)[0].position

    @jax.jit
    def chains(seed: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(seed), workload.n_chains)
        return jax.vmap(chain)(keys, jnp.zeros((workload.n_chains, workload.dim)))

    return lambda seed: np.asarray(jax.block_until_ready(chains(seed)))
