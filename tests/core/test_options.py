"""Every option does what it says, on the reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotherm
from isotherm import InputError
from isotherm._arithmetic import noise

sample = partial(isotherm.sample_chain, backend="numpy", seed=5)
WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {"dim": 3, "n_samples": 6, "n_steps": 12, "step_size": 0.05}

same = np.testing.assert_array_equal


def trajectory(energy=WELL, **options):
    return sample(energy, **RUN | {"return_trajectory": True} | options)


def test_shapes():
    assert sample(WELL, **RUN).shape == (6, 3)
    states, diagnostics = trajectory(return_diagnostics=True, thinning=5, burn_in=3)
    assert states.shape == (6, 2, 3)
    assert diagnostics.shape == (2, 3, 6, 3)
    final, diagnostics = sample(WELL, **RUN, return_diagnostics=True)
    assert final.shape == (6, 3)
    assert len(diagnostics) == 12


def test_the_final_state_is_the_last_of_the_trajectory():
    same(sample(WELL, **RUN), trajectory()[:, -1])


@given(burn_in=st.integers(0, 9), n_steps=st.integers(1, 9), thinning=st.integers(1, 9))
def test_kept_states_are_a_slice_of_all_states(burn_in, n_steps, thinning):
    thinning = min(thinning, n_steps)
    everything = trajectory(n_steps=burn_in + n_steps)
    kept, diagnostics = trajectory(
        burn_in=burn_in, n_steps=n_steps, thinning=thinning, return_diagnostics=True
    )
    steps = burn_in + thinning * np.arange(1, n_steps // thinning + 1)
    same(kept, everything[:, steps - 1])
    same(diagnostics.steps, steps)


@given(n=st.integers(1, 11))
def test_a_run_goes_on_with_step_offset(n):
    options = {
        "step_size": lambda t: 0.05 / (1 + t),
        "noise_scale": lambda t: 1.0 + 0.1 * t,
        "decay": 0.1,
    }
    whole = sample(WELL, **RUN | options)
    first = sample(WELL, **RUN | options | {"n_steps": n})
    rest = RUN | options | {"n_steps": 12 - n, "step_offset": n}
    same(sample(WELL, x=first, **rest), whole)


def test_the_step_offset_moves_the_noise():
    # Steps of a chain whose state does not matter: increments are the noise alone.
    still = isotherm.HarmonicEnergy(k=1e-30)
    whole = np.diff(trajectory(still, dtype="float64", x=np.zeros(3)), axis=1)
    later = np.diff(trajectory(still, dtype="float64", x=np.zeros(3), step_offset=4), axis=1)
    np.testing.assert_allclose(later[:, :-4], whole[:, 4:], rtol=1e-12, atol=1e-14)


@given(k=st.integers(1, 5))
def test_a_run_is_split_with_chain_offset(k):
    whole = sample(WELL, **RUN)
    same(sample(WELL, **RUN | {"n_samples": k}), whole[:k])
    same(sample(WELL, **RUN | {"n_samples": 6 - k, "chain_offset": k}), whole[k:])


def test_neighbouring_seeds_and_streams_differ():
    assert not np.intersect1d(sample(WELL, **RUN), sample(WELL, **RUN | {"seed": 6})).size


def test_one_step_is_the_equation():
    x = np.full((1, 3), 2.0, dtype=np.float32)
    still = sample(WELL, x=x, n_steps=1, step_size=0.1, noise_scale=0.0)
    same(still, x - np.float32(0.1) * WELL.gradient(x))
    loud, louder = (
        sample(WELL, x=x, n_steps=1, step_size=0.1, noise_scale=scale) for scale in (1.0, 2.0)
    )
    np.testing.assert_allclose(louder - still, 2.0 * (loud - still), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_is_the_equation_with_the_streams_numbers(dtype):
    """Against ten lines of NumPy: the order of every rounding, and which number is used when."""
    seed, chain_offset, step_offset, n_samples = 9, 3, 5, 4

    def normals(stream, step):
        block, position = divmod(step, noise.steps_per_block(dtype))
        made = np.empty((noise.steps_per_block(dtype), n_samples, 2), dtype=dtype)
        noise.fill_normals(made, seed=seed, stream=stream, block=block, chain_offset=chain_offset)
        return made[position]

    step_size, noise_scale = 0.07, 0.9
    eta = np.dtype(dtype).type(step_size)
    scale = np.dtype(dtype).type(noise_scale * np.sqrt(2.0 * step_size))
    x = normals(noise.Stream.INITIAL, 0)
    states = []
    for step in range(step_offset, step_offset + 7):
        x = (x - eta * WELL.gradient(x)) + scale * normals(noise.Stream.LANGEVIN, step)
        states.append(x)
    got = trajectory(
        dim=2,
        n_samples=n_samples,
        n_steps=7,
        step_size=step_size,
        noise_scale=noise_scale,
        seed=seed,
        chain_offset=chain_offset,
        step_offset=step_offset,
        dtype=dtype,
    )
    same(got, np.stack(states, axis=1))


def test_no_noise_is_gradient_descent():
    x = np.array([[2.0, -1.5, 0.3]])
    expected = x
    for t in range(20):
        expected = expected - 0.05 * 0.9**t * WELL.gradient(expected)
    options = {"n_steps": 20, "step_size": 0.05, "decay": 0.1, "noise_scale": 0.0}
    np.testing.assert_allclose(sample(WELL, x=x, **options), expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["step_size", "noise_scale", "temperature"])
def test_a_schedule_is_a_number_an_array_or_a_function(name):
    constant = trajectory(**{name: 0.1})
    same(trajectory(**{name: np.full(12, 0.1)}), constant)
    same(trajectory(**{name: [0.1] * 12}), constant)
    same(trajectory(**{name: lambda t: 0.1}), constant)
    rising = trajectory(**{name: lambda t: 0.1 * (1 + t // 6)})
    same(rising, trajectory(**{name: [0.1] * 6 + [0.2] * 6}))
    same(rising[:, :6], constant[:, :6])
    assert (rising[:, 6] != constant[:, 6]).all()


def test_a_schedule_begins_with_the_burn_in():
    steps = np.linspace(0.01, 0.1, 12)
    options = {"burn_in": 5, "n_steps": 7, "step_size": steps}
    same(trajectory(**options), trajectory(step_size=steps)[:, 5:])


def test_decay_is_a_schedule():
    same(trajectory(decay=0.1), trajectory(step_size=0.05 * 0.9 ** np.arange(12)))


def test_temperature_is_the_square_of_the_noise_scale():
    same(trajectory(temperature=4.0), trajectory(noise_scale=2.0))
    with pytest.raises(InputError, match="not both"):
        trajectory(temperature=1.0, noise_scale=1.0)


@pytest.mark.parametrize("clamp", [(-0.3, 0.5), (None, 0.5), (-0.3, None)])
def test_clamp(clamp):
    low = -np.inf if clamp[0] is None else clamp[0]
    high = np.inf if clamp[1] is None else clamp[1]
    free, held = trajectory(), trajectory(clamp=clamp)
    same(held[:, 0], np.clip(free[:, 0], np.float32(low), np.float32(high)))
    assert held.min() >= np.float32(low)
    assert held.max() <= np.float32(high)
    assert free.max() > 0.5
    assert free.min() < -0.3
    # Not a cut of the finished chain: the state itself is put back.
    assert (held != np.clip(free, np.float32(low), np.float32(high))).any()
    same(trajectory(clamp=(None, None)), free)


def test_a_fresh_seed_is_told_and_gives_the_run_again():
    options = RUN | {"backend": "numpy"}
    results = [isotherm.run(isotherm.make_plan(WELL, **options), WELL) for _ in range(2)]
    assert results[0].info.seed != results[1].info.seed
    same(sample(WELL, **RUN | {"seed": results[0].info.seed}), results[0].samples)


def test_a_numpy_generator_gives_the_seed():
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    a = sample(WELL, **RUN | {"seed": first})
    same(sample(WELL, **RUN | {"seed": second}), a)
    assert (sample(WELL, **RUN | {"seed": second}) != a).all()  # it moved on


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.uint64(2**64 - 1), np.int32(3)])
def test_seeds_are_all_integers_of_64_bits(seed):
    same(sample(WELL, **RUN | {"seed": seed}), sample(WELL, **RUN | {"seed": int(seed)}))


def test_dtype_is_that_of_x_then_of_the_parameters_then_float32():
    wide = isotherm.DoubleWellEnergy(b=np.array(1.0, dtype=np.float64))
    narrow = np.zeros((2, 3), dtype=np.float32)
    assert sample(WELL, **RUN).dtype == np.float32
    assert sample(wide, **RUN).dtype == np.float64
    assert sample(wide, x=narrow, n_steps=1).dtype == np.float32
    assert sample(WELL, x=narrow.astype(np.float64), n_steps=1).dtype == np.float64
    assert sample(WELL, x=narrow.astype(np.float16), n_steps=1).dtype == np.float16
    assert sample(WELL, x=narrow.astype(int), n_steps=1).dtype == np.float32
    assert sample(wide, x=narrow.astype(int), n_steps=1).dtype == np.float64
    assert sample(wide, x=narrow, n_steps=1, dtype=np.float16).dtype == np.float16
    assert sample(WELL, **RUN, dtype="float64").dtype == np.float64
    _, diagnostics = sample(WELL, **RUN, dtype="float64", return_diagnostics=True)
    assert diagnostics.dtype == diagnostics.energy.dtype == np.float64


def test_float32_and_float64_are_chains_of_their_own_of_the_same_law():
    wide = sample(WELL, **RUN, dtype="float64")
    assert not np.isclose(sample(WELL, **RUN), wide).any()


def test_one_state_starts_all_chains():
    state = np.array([0.5, -1.0, 2.0])
    expected = sample(WELL, x=np.tile(state, (4, 1)), n_steps=3)
    assert len(np.unique(expected, axis=0)) == 4
    same(sample(WELL, x=state, n_samples=4, n_steps=3), expected)
    same(sample(WELL, x=state[None], n_samples=4, n_steps=3), expected)
    same(sample(WELL, x=np.broadcast_to(state, (4, 3)), n_steps=3), expected)
    assert sample(WELL, x=state, n_steps=3).shape == (1, 3)


def test_a_list_is_a_state():
    same(
        sample(WELL, x=[0.5, 1.0], n_steps=3),
        sample(WELL, x=np.array([[0.5, 1.0]], dtype=np.float32), n_steps=3),
    )


def test_states_of_several_axes_are_those_of_one_in_c_order():
    flat = trajectory(dim=12, return_diagnostics=True)
    shaped = trajectory(dim=(2, 3, 2), return_diagnostics=True)
    same(shaped[0], flat[0].reshape(6, 12, 2, 3, 2))
    same(shaped[1].mean, flat[1].mean.reshape(12, 2, 3, 2))
    np.testing.assert_allclose(shaped[1].energy, flat[1].energy, rtol=1e-6)
    assert shaped[1].shape == (12, 3, 6, 2, 3, 2)


START = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


UNUSUAL = {
    "read-only": read_only,
    "column-major": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "big-endian": lambda x: x.astype(">f4"),
    "transposed": lambda x: x.T.copy().T,
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_memory_is_right_and_not_written_to(kind):
    x = UNUSUAL[kind](START)
    options = {"n_steps": 5, "step_size": 0.05, "return_trajectory": True, "clamp": (-1.0, None)}
    states = sample(WELL, x=x, **options)
    same(states, sample(WELL, x=START, **options))
    assert states.dtype == np.dtype("=f4")
    same(x, START)
    assert not np.shares_memory(states, x)


def test_integer_states():
    x = np.array([[1, 2, 3], [4, 5, 6]])
    same(sample(WELL, x=x, n_steps=3), sample(WELL, x=x.astype(np.float32), n_steps=3))


class Terms:
    """HarmonicEnergy by hand, which returns its terms in the shape that it is told."""

    def __init__(self, shape):
        self.shape = shape

    def __call__(self, x):
        terms = 0.5 * x * x
        return {
            "(n,)": lambda: terms.reshape(len(x), -1).sum(axis=1),
            "(n, 1)": lambda: terms.reshape(len(x), -1).sum(axis=1, keepdims=True),
            "x": lambda: terms,
        }[self.shape]()

    def gradient(self, x):
        return x


@pytest.mark.parametrize("dim", [3, (3, 1), 1])
@pytest.mark.parametrize("shape", ["(n,)", "(n, 1)", "x"])
def test_energies_may_return_terms(shape, dim):
    options = {"dim": dim, "return_diagnostics": True, "return_trajectory": True}
    states, diagnostics = sample(Terms(shape), **RUN | options)
    expected_states, expected = sample(isotherm.HarmonicEnergy(), **RUN | options)
    same(states, expected_states)
    np.testing.assert_allclose(diagnostics.energy, expected.energy, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "gradient", "message"),
    [
        (lambda x: x.sum(), lambda x: x, r"energy\(x\) returned"),
        (lambda x: x[:, :2], lambda x: x, r"energy\(x\) returned shape \(6, 2\)"),
        (lambda x: 1.0, lambda x: x, r"energy\(x\) returned float"),
        (lambda x: x, lambda x: x[:1], r"energy.gradient\(x\) returned shape \(1, 3\)"),
        (lambda x: x, lambda x: None, r"energy.gradient\(x\) returned NoneType"),
        (lambda x: x, lambda x: x.sum(axis=1), r"energy.gradient\(x\) returned shape \(6,\)"),
    ],
)
def test_energies_with_outputs_of_the_wrong_shape_are_refused(value, gradient, message):
    class Wrong:
        def __call__(self, x):
            return value(x)

        def gradient(self, x):
            return gradient(x)

    with pytest.raises(InputError, match=message) as caught:
        sample(Wrong(), **RUN, return_diagnostics=True)
    assert "\n" not in str(caught.value)


def test_the_sampler_is_the_same_call():
    sampler = isotherm.LangevinDynamics(
        energy_function=WELL,
        step_size=0.05,
        noise_scale=0.5,
        decay=0.01,
        clamp=(-1.0, 1.0),
        dtype="float64",
        backend="numpy",
    )
    assert sampler.to("cpu") is sampler
    run = {"dim": 3, "n_samples": 4, "n_steps": 6, "thinning": 2, "burn_in": 1, "seed": 5}
    states, diagnostics = sampler.sample_chain(
        **run, return_trajectory=True, return_diagnostics=True
    )
    expected, expected_diagnostics = sample(
        WELL,
        **run,
        step_size=0.05,
        noise_scale=0.5,
        decay=0.01,
        clamp=(-1.0, 1.0),
        dtype="float64",
        return_trajectory=True,
        return_diagnostics=True,
    )
    same(states, expected)
    same(np.asarray(diagnostics), np.asarray(expected_diagnostics))
    with pytest.raises(InputError, match="device 'moon' does not exist"):
        sampler.to("moon").sample_chain(dim=3)


def test_run_tells_how_it_went():
    plan = isotherm.make_plan(WELL, **RUN, burn_in=3, seed=7, backend="numpy")
    seen = []
    info = isotherm.run(plan, WELL, progress=lambda done, total: seen.append((done, total))).info
    assert (info.seed, info.backend, info.device, info.n_steps) == (7, "numpy", "cpu", 15)
    assert info.seconds > 0
    assert info.divergence is None
    assert seen[-1] == (15, 15)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_plan_is_held_to_its_shape():
    plan = isotherm.make_plan(WELL, np.zeros((5, 2)), n_steps=3, backend="numpy")
    with pytest.raises(InputError, match=r"x has shape \(5, 3\) but the plan was made for"):
        isotherm.run(plan, WELL, np.zeros((5, 3)))
