"""Isotherm and its peers: each warms up and samples a target for some seconds.

All start from N(0, I), where the energy is finite, and find their own step sizes and inverse
masses, of the kind that the target says (nutpie has no dense one but a low-rank one). nutpie gets
Isotherm's program of the energy, printed for one chain and compiled by Numba; where that multiplies
a matrix, for which it wants several chains, what a user would write for Numba; and where there is
neither, JAX's function, as it would from PyMC with ``gradient_backend="jax"``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import isotherm
from benchmarks.posteriors.targets import Target

Numbers = np.ndarray[Any, np.dtype[np.float64]]

N_WARMUP = 500  # steps, where a program has no number of its own
_LONGEST = 8000  # instructions that compile in some seconds
_FIRST, _MOST = 16, 2**23  # steps of a first piece; numbers that one may keep
_THINNING = 2  # of Isotherm's draws: to write the others costs more than they tell
_MEASURED = 64  # chains, in all programs; ESS is of these, times the rest


@dataclass
class Run:
    """What a program did.

    Attributes
    ----------
    warmup, seconds : float
        Of the warm-up, and in all.
    n_gradients : int
        While it sampled.
    n_chains : int
    draws : list of array, shape (at most 64 chains, n, dim)
    """

    warmup: float
    n_chains: int
    seconds: float = 0.0
    n_gradients: int = 0
    draws: list[Numbers] = field(default_factory=list)

    def go_on(self, budget: float, pieces: Iterator[tuple[Any, int]]) -> Run:
        """Take pieces until the budget is spent, and at least as long as the warm-up took."""
        self.seconds = self.warmup
        while not self.draws or self.seconds < allowed(budget, self.warmup):
            began = time.perf_counter()
            draws, n_gradients = next(pieces)
            self.seconds += time.perf_counter() - began
            self.draws.append(np.array(draws[:_MEASURED]))  # a copy: not to hold the others
            self.n_gradients += n_gradients
        return self


Sample = Callable[[int, float], Run]


def allowed(budget: float, warmup: float) -> float:
    """The seconds of a run."""
    return max(budget, 2.0 * warmup)


def of_isotherm(target: Target) -> Sample:
    n_chains = 1024
    sampler = isotherm.HamiltonianMonteCarlo(target.energy, dtype=target.dtype, backend="numba")
    shape = target.energy.dim if isinstance(target.energy.dim, tuple) else target.dim

    def sample(seed: int, budget: float) -> Run:
        began = time.perf_counter()
        tuning = isotherm.warm_up(
            sampler, dim=shape, n_warmup=N_WARMUP, mass=target.mass, seed=seed
        )
        run = Run(time.perf_counter() - began, n_chains)

        def pieces() -> Iterator[tuple[Any, int]]:
            x, n, n_steps = tuning.x.rows(0, n_chains), 0, _FIRST
            most = _THINNING * (_MOST // (n_chains * target.dim))
            while True:
                began = time.perf_counter()
                plan = tuning.sampler.plan(
                    x, n_steps=n_steps, seed=seed, step_offset=n, thinning=_THINNING,
                    return_trajectory=True,
                )  # fmt: skip
                result = isotherm.run(plan, target.energy, x)
                x, n = result.samples, n + n_steps
                substeps = replace(plan, thinning=1).kept_substeps(n_steps)
                n_gradients = 0 if substeps is None else n_chains * int(substeps.sum())
                taken = time.perf_counter() - began
                yield result.trajectory.reshape(n_chains, -1, target.dim), n_gradients
                # Few calls, as each begins with its plan; but memory that is new costs, too.
                left = allowed(budget, run.warmup) - run.seconds
                n_steps = max(
                    _FIRST, min(most, int(n_steps * left / taken) // _THINNING * _THINNING)
                )

        return run.go_on(budget, pieces())

    return sample


def _jax(target: Target) -> tuple[Any, Any]:
    import jax

    from benchmarks.posteriors import densities

    jax.config.update("jax_enable_x64", target.dtype == "float64")
    return jax, densities.FAMILIES[target.family](target.data)


def _starts(jax: Any, energy: Any, key: Any, shape: tuple[int, int]) -> Any:
    """States from N(0, I), drawn again where the energy is not finite, as nutpie does by itself."""
    both = jax.vmap(jax.value_and_grad(energy))

    def is_bad(x: Any) -> Any:
        value, slope = both(x)
        return ~(jax.numpy.isfinite(value) & jax.numpy.isfinite(slope).all(axis=1))

    def again(one: Any) -> Any:
        key, x, bad = one
        key, now = jax.random.split(key)
        x = jax.numpy.where(bad[:, None], jax.random.normal(now, shape), x)
        return key, x, is_bad(x)

    first = key, jax.numpy.zeros(shape), jax.numpy.ones(shape[0], bool)
    return jax.lax.while_loop(lambda one: one[2].any(), again, first)[1]


def of_blackjax(target: Target) -> Sample:
    n_chains, n_steps = 64, 50
    jax, energy = _jax(target)
    import blackjax

    def log_density(x: Any) -> Any:
        return -energy(x)

    adaptation = blackjax.window_adaptation(
        blackjax.nuts, log_density, is_mass_matrix_diagonal=target.mass == "diagonal"
    )
    kernel = blackjax.nuts.build_kernel()

    def warm_up(key: Any) -> Any:
        starts, keys = jax.random.split(key)
        x = _starts(jax, energy, starts, (n_chains, target.dim))
        run = jax.vmap(lambda key, x: adaptation.run(key, x, num_steps=N_WARMUP)[0])
        return run(jax.random.split(keys, n_chains), x)

    def piece(key: Any, states: Any, parameters: Any) -> Any:
        def step(states: Any, key: Any) -> Any:
            move = jax.vmap(lambda key, state, one: kernel(key, state, log_density, **one))
            states, info = move(jax.random.split(key, n_chains), states, parameters)
            return states, (states.position, info.num_integration_steps)

        states, (draws, counts) = jax.lax.scan(step, states, jax.random.split(key, n_steps))
        return states, draws, counts.sum()

    key = jax.random.PRNGKey(0)
    made = jax.eval_shape(warm_up, key)
    compiled_warm_up = jax.jit(warm_up).lower(key).compile()
    compiled_piece = jax.jit(piece).lower(key, made.state, made.parameters).compile()

    def sample(seed: int, budget: float) -> Run:
        key = jax.random.PRNGKey(seed)
        began = time.perf_counter()
        found = jax.block_until_ready(compiled_warm_up(key))
        run = Run(time.perf_counter() - began, n_chains)

        def pieces() -> Iterator[tuple[Any, int]]:
            nonlocal key
            states = found.state
            while True:
                key, now = jax.random.split(key)
                states, draws, count = compiled_piece(now, states, found.parameters)
                yield np.asarray(draws).swapaxes(0, 1), int(count)

        return run.go_on(budget, pieces())

    return sample


def of_numpyro(target: Target) -> Sample:
    n_chains, n_steps = 4, 500
    jax, energy = _jax(target)
    from numpyro.infer import MCMC, NUTS

    started = jax.jit(lambda key: _starts(jax, energy, key, (n_chains, target.dim)))
    kernel = NUTS(potential_fn=energy, dense_mass=target.mass == "dense")
    mcmc = MCMC(
        kernel, num_warmup=N_WARMUP, num_samples=n_steps, num_chains=n_chains,
        chain_method="vectorized", progress_bar=False, jit_model_args=True,
    )  # fmt: skip

    def sample(seed: int, budget: float) -> Run:
        jax.config.update("jax_enable_x64", target.dtype == "float64")
        key, starts = jax.random.split(jax.random.PRNGKey(seed))
        x = started(starts)
        mcmc.post_warmup_state = None
        began = time.perf_counter()
        mcmc.warmup(key, init_params=x, extra_fields=("num_steps",))
        jax.block_until_ready(mcmc.post_warmup_state.z)
        run = Run(time.perf_counter() - began, n_chains)

        def pieces() -> Iterator[tuple[Any, int]]:
            state = mcmc.post_warmup_state
            while True:
                mcmc.post_warmup_state = state
                mcmc.run(state.rng_key, extra_fields=("num_steps",))
                draws = np.asarray(mcmc.get_samples(group_by_chain=True))
                count = int(mcmc.get_extra_fields()["num_steps"].sum())
                state = mcmc.last_state
                yield draws, count

        return run.go_on(budget, pieces())

    return sample


def of_nutpie(target: Target) -> Sample:
    import nutpie

    n_chains, n_tune = 4, 400  # its own default
    model = _nutpie_model(target)

    def run_it(seed: int, n_draws: int) -> tuple[float, Any]:
        began = time.perf_counter()
        tree = nutpie.sample(
            model, draws=n_draws, tune=n_tune, chains=n_chains, cores=2, seed=seed,
            progress_bar=False, save_warmup=True,
            low_rank_modified_mass_matrix=target.mass == "dense",
        )  # fmt: skip
        return time.perf_counter() - began, tree

    def sample(seed: int, budget: float) -> Run:
        # It must be told beforehand how many draws: its warm-up, and a short run, say what fits.
        warmup, _ = run_it(seed, 1)
        short, _ = run_it(seed, 500)
        rate = 500 / max(short - warmup, 0.1 * short)
        seconds, tree = run_it(seed, max(100, int(rate * (allowed(budget, warmup) - warmup))))
        draws = np.asarray(tree.posterior["x"])
        count = int(np.asarray(tree.sample_stats["n_steps"]).sum())
        return Run(warmup, n_chains, seconds, count, [draws])

    return sample


def _nutpie_model(target: Target) -> Any:
    """The energy for nutpie: a C function of Numba's, or JAX's by Python."""
    from nutpie import compiled_pyfunc

    numba_energy = _WRITTEN.get(target.family, _printed)(target)
    if numba_energy is not None:
        return _c_model(target.dim, numba_energy)
    jax, energy = _jax(target)
    both = jax.jit(jax.value_and_grad(lambda x: -energy(x)))

    def logp(x: Any) -> tuple[float, Any]:
        value, gradient = both(x)
        return float(value), np.asarray(gradient, np.float64)

    return compiled_pyfunc.from_pyfunc(
        target.dim,
        lambda: logp,
        lambda *_: lambda x: {"x": np.asarray(x)},
        [np.dtype("float64")],
        [(target.dim,)],
        ["x"],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).normal(size=target.dim),
    )


def _printed(target: Target) -> Any:
    """The printed program for one chain: the energy at `x`, its gradient into `out`; or None."""
    import numba

    from isotherm.backend import ArrayProgram
    from isotherm_numba import array_printer, printer, vectors

    program, numbers = target.energy.program(target.energy.dim), target.energy.parameter_values()
    ops, lanes = {one.op for one in program.instructions}, 1
    if isinstance(program, ArrayProgram):
        if ops & {"matmul", "matmul_t"}:  # of which a register's worth of chains is the least
            return None
        if "cholesky" in ops:  # which is made in whole registers
            lanes = vectors.Vector(numba.types.float64).lanes
        source, numbers = array_printer.print_arrays(program, lanes, numbers)
    elif len(program.instructions) > _LONGEST:
        return None
    else:
        source = printer.print_program(program, stride=1)
    signature = 'signature = kernel_calls.kernel_signature("float64")'
    compiled = "compiled = njit(signature, **inner)"
    text = printer.print_module(target.family, "float64", signature, compiled, source)
    module: dict[str, Any] = {"__name__": "benchmarks.posteriors.printed"}
    exec(compile(text, "<printed>", "exec"), module)
    terms, gradient, n = module["terms"], module["gradient"], target.dim
    numbers = np.ascontiguousarray(numbers, np.float64)

    @numba.njit(error_model="numpy")
    def energy(x, out):
        states, scratch = np.zeros(n * lanes), np.empty(n * lanes)
        states[::lanes] = x
        made, slopes = np.full(n * lanes, np.nan), np.full(n * lanes, np.nan)
        terms(states, made, scratch, numbers, n, lanes, 1)
        gradient(states, slopes, scratch, numbers, n, lanes, 1)
        out[:] = slopes[::lanes]
        return made[0]

    return energy


def _logistic(target: Target) -> Any:
    import numba

    X, y = np.ascontiguousarray(target.data["X"]), np.array(target.data["y"], float)

    @numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})  # sums by vectors, too
    def energy(w, out):
        value = 0.5 * np.sum(w * w)
        out[:] = w
        for i in range(len(y)):  # and not by a BLAS, whose threads would be beside nutpie's
            z = 0.0
            for j in range(len(w)):
                z += X[i, j] * w[j]
            small = np.exp(-abs(z))
            value += max(z, 0.0) + np.log1p(small) - y[i] * z
            slope = (1.0 if z > 0.0 else small) / (1.0 + small) - y[i]
            for j in range(len(w)):
                out[j] += slope * X[i, j]
        return value

    return energy


_WRITTEN: dict[str, Callable[[Target], Any]] = {"logistic": _logistic}


def _c_model(n: int, energy: Any) -> Any:
    import numba
    from nutpie.compile_pymc import CompiledPyMCModel

    double = numba.types.CPointer(numba.types.double)
    integer, anything = numba.types.uint64, numba.types.voidptr

    @numba.cfunc(numba.types.int64(integer, double, double, double, anything))
    def logp(dim, x_, out_, logp_, _):
        x, out, value = numba.carray(x_, (n,)), numba.carray(out_, (n,)), numba.carray(logp_, (1,))
        value[0] = -energy(x, out)
        is_finite = np.isfinite(value[0])
        for i in range(n):
            out[i] = -out[i]
            is_finite &= np.isfinite(out[i])
        return 0 if is_finite else 3

    @numba.cfunc(numba.types.int64(integer, integer, double, double, anything))
    def expand(dim, expanded, x_, out_, _):
        x, out = numba.carray(x_, (n,)), numba.carray(out_, (n,))
        for i in range(n):
            out[i] = x[i]
        return 0

    return CompiledPyMCModel(
        dims={},
        compiled_logp_func=logp,
        compiled_expand_func=expand,
        initial_point_func=lambda seed: np.random.default_rng(seed).normal(size=n),
        shared_data={},
        user_data=np.zeros(1),
        n_expanded=n,
        shape_info=(["x"], [slice(0, n)], [(n,)]),
        logp_func=None,
        expand_func=None,
        _n_dim=n,
        _shapes={"x": (n,)},
        _coords={},
    )


PROGRAMS: dict[str, Callable[[Target], Sample]] = {
    "isotherm": of_isotherm,
    "nutpie": of_nutpie,
    "blackjax": of_blackjax,
    "numpyro": of_numpyro,
}
