"""The regression of `benchmarks/logistic_gradients.py` in JAX: times for each line read."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

STEPS = 100


def problem() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The design, shape (569, 31), and the answers, in float32."""
    data = load_breast_cancer()
    standardised = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    X = np.column_stack([np.ones(len(standardised)), standardised])
    return X.astype(np.float32), data.target.astype(np.float32)


def main() -> None:
    """Print the versions, and for each line read the seconds of the steps."""
    import jax
    import jax.numpy as jnp

    X, y = map(jnp.asarray, problem())

    def energy(w: Any) -> Any:
        z = X @ w
        return jnp.sum(jnp.logaddexp(0.0, z) - y * z) + 0.5 * jnp.sum(w * w)

    slope = jax.vmap(jax.grad(energy))

    @jax.jit
    def descend(w: Any) -> Any:
        return jax.lax.fori_loop(0, STEPS, lambda _, w: w - 1e-4 * slope(w), w)

    start = jnp.zeros((int(sys.argv[1]), X.shape[1]), jnp.float32)
    descend(start).block_until_ready()
    print(f"jax {jax.__version__}", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        descend(start).block_until_ready()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
