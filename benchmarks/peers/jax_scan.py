"""A loop in jax as an expert writes it: one jitted `jax.lax.scan`, gradients by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from workloads import BARRIER_HEIGHT, FRICTION, NOISE_SCALE, STEP_SIZE, Workload

from peers import Unsupported
from peers.gaussian import precision

SAMPLERS = ("langevin", "underdamped")


def versions() -> dict[str, str]:
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def threads() -> int:
    return len(os.sched_getaffinity(0))  # XLA's pool on the CPU


def energy_and_gradient(workload: Workload) -> tuple[Callable, Callable]:
    """U(x) and ∇U(x) of states whose last axis is the coordinate."""
    if workload.energy == "gaussian":
        matrix = jnp.asarray(precision(workload.dim))
        return lambda x: 0.5 * jnp.sum(x * (x @ matrix), axis=-1), lambda x: x @ matrix
    if workload.energy == "double well":
        return (
            lambda x: BARRIER_HEIGHT * jnp.sum((x * x - 1.0) ** 2, axis=-1),
            lambda x: 4 * BARRIER_HEIGHT * x * (x * x - 1.0),
        )
    raise Unsupported("the network is a torch module")


def prepare(workload: Workload) -> Callable[[int], np.ndarray]:
    if workload.sampler == "underdamped":
        return _underdamped(workload)
    energy, gradient = energy_and_gradient(workload)
    shape = (workload.n_chains, workload.dim)
    scale = NOISE_SCALE * math.sqrt(2 * STEP_SIZE)

    def step(x: jax.Array, key: jax.Array) -> tuple[jax.Array, object]:
        x = x - STEP_SIZE * gradient(x) + scale * jax.random.normal(key, shape)
        kept = (x, x.mean(axis=0), x.var(axis=0), energy(x)) if workload.records else None
        return x, kept

    @jax.jit
    def chains(seed: jax.Array) -> tuple[jax.Array, object]:
        keys = jax.random.split(jax.random.key(seed), workload.n_steps)
        return jax.lax.scan(step, jnp.zeros(shape), keys)

    return lambda seed: np.asarray(jax.block_until_ready(chains(seed))[0])


def _underdamped(workload: Workload) -> Callable[[int], np.ndarray]:
    """BAOAB, whose gradient is handed from step to step."""
    _, gradient = energy_and_gradient(workload)
    shape = (workload.n_chains, workload.dim)
    half, decay = 0.5 * workload.step_size, math.exp(-FRICTION * workload.step_size)
    kick = NOISE_SCALE * math.sqrt(1.0 - decay * decay)

    def step(state: tuple[jax.Array, ...], key: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        x, p, g = state
        p = p - half * g
        x = x + half * p
        p = decay * p + kick * jax.random.normal(key, shape)
        x = x + half * p
        g = gradient(x)
        return (x, p - half * g, g), None

    @jax.jit
    def chains(seed: jax.Array) -> jax.Array:
        first, later = jax.random.split(jax.random.key(seed))
        x = jnp.zeros(shape)
        begin = x, NOISE_SCALE * jax.random.normal(first, shape), gradient(x)
        return jax.lax.scan(step, begin, jax.random.split(later, workload.n_steps))[0][0]

    return lambda seed: np.asarray(jax.block_until_ready(chains(seed)))
