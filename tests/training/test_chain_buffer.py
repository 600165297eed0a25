"""Persistent chains: functions of seed and number alone, which go on after a stop."""

import copy
import io
import pickle
import threading

import numpy as np
import pytest

import isotherm
from isotherm import InputError

WELL = isotherm.DoubleWellEnergy()
SAMPLERS = {
    "langevin": isotherm.LangevinDynamics(WELL, step_size=0.01),
    "underdamped": isotherm.UnderdampedLangevin(WELL, step_size=0.1),
    "mala": isotherm.MALA(WELL, step_size=0.05),
    "hmc": isotherm.HamiltonianMonteCarlo(WELL, step_size=0.1, n_leapfrog=3),
}


def buffer_of(sampler="langevin", backend="numpy", **options):
    made = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
    made = copy.copy(made)
    made.backend = backend
    return isotherm.ChainBuffer(made, **{"capacity": 24, "shape": 3, "seed": 7} | options)


def host(x):
    return np.array(np.asarray(x))


def drawn(buffer, n_draws=6, n=8, **options):
    return [host(buffer.draw(n, 3, **options)) for _ in range(n_draws)]


def same(first, second):
    np.testing.assert_array_equal(host(first), host(second))


class Quadratic:
    """An energy of arrays of any library, which a user wrote, with labels."""

    def __call__(self, x, labels=0.0):
        return 0.5 * ((x - self._column(labels)) ** 2).sum(1)

    def gradient(self, x, labels=0.0):
        return x - self._column(labels)

    @staticmethod
    def _column(labels):
        return labels[:, None] if hasattr(labels, "shape") else labels


@pytest.mark.parametrize(
    ("sampler", "dtype"), [*((name, "float32") for name in SAMPLERS), ("langevin", "float64")]
)
def test_the_states_are_equal_on_every_backend(sampler, dtype, backend):
    made = copy.copy(SAMPLERS[sampler])
    made.dtype = dtype
    options = {"init": "uniform", "init_range": (-2, 3), "reinit_probability": 0.3}
    expected, got = buffer_of(made, **options), buffer_of(made, backend, **options)
    same(drawn(expected), drawn(got))
    same(expected.states, got.states)
    same(expected.ages, got.ages)
    assert str(got.states.dtype).endswith(dtype)
    assert expected.n_reinitialised == got.n_reinitialised > 0


def test_the_first_chains_are_those_of_a_run_without_a_start(backend):
    buffer = buffer_of(init="normal", backend=backend)
    sampler = copy.copy(SAMPLERS["langevin"])
    sampler.backend = backend
    whole = host(sampler.sample_chain(dim=3, n_samples=24, n_steps=3, seed=7))
    same(buffer.draw(8, 3), whole[:8])
    # The next ones are drawn from all slots; those that were never used begin with their number.
    before = buffer.ages.copy()
    second = host(buffer.draw(8, 3))
    is_first = np.array([any((row == one).all() for one in whole[8:16]) for row in second])
    assert is_first.sum() == ((before == 0) & (buffer.ages == 3)).sum() > 0


def test_a_draw_writes_back_to_the_slots_that_it_read():
    buffer = buffer_of(reinit_probability=0.0, capacity=50)
    drawn(buffer, 30)
    before, ages = host(buffer.states), buffer.ages.copy()
    samples = host(buffer.draw(8, 1))
    changed = np.flatnonzero((host(buffer.states) != before).any(1))
    assert len(changed) == 8
    same(buffer.ages - ages, np.isin(np.arange(50), changed))
    # Each end lies a step away from where its own slot was.
    for row in samples:
        (slot,) = np.flatnonzero((host(buffer.states) == row).all(1))
        assert np.abs(row - before[slot]).max() < 1.0
    samples[...] = 9.0
    assert (host(buffer.states) != 9.0).all()


def test_slots_are_drawn_without_repetition_and_alike():
    buffer = buffer_of(capacity=12, reinit_probability=0.0)
    counts = np.zeros(12)
    for _ in range(300):
        before = buffer.ages.copy()
        buffer.draw(5, 1)
        counts += buffer.ages > before
        assert (buffer.ages > before).sum() == 5
    # Of 300 draws, each takes a slot with probability 5/12: standard deviation 8.5.
    assert np.abs(counts - 125).max() < 35
    assert set(map(int, buffer.ages)) != {int(buffer.ages[0])}


def test_a_part_begins_anew():
    buffer = buffer_of(capacity=100, reinit_probability=0.1)
    drawn(buffer, 100, 50)
    n_used = 100 * 50 - 100
    assert abs(buffer.n_reinitialised - 0.1 * n_used) < 4 * (0.09 * n_used) ** 0.5
    always = buffer_of(capacity=10, reinit_probability=1.0)
    drawn(always, 3, 10)
    assert (always.ages == 3).all()
    never = buffer_of(capacity=10, reinit_probability=0.0)
    drawn(never, 3, 10)
    assert (never.ages == 9).all()


def test_no_noise_comes_twice():
    """Chains without an energy: their increments are the noise."""
    free = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(k=0.0), step_size=0.5)
    buffer = buffer_of(free, capacity=8, init=np.zeros((1, 3)), reinit_probability=0.0)
    ends = np.array(drawn(buffer, 4, 8))
    increments = np.diff(np.array([np.sort(x.ravel()) for x in ends]), axis=0)
    assert len(np.unique(ends.round(5))) == ends.size
    assert len(np.unique(increments.round(5))) > 0.9 * increments.size
    assert abs(ends[-1].var() - 12.0) < 12.0 * 4 * (2 / 24) ** 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_do_not_matter(sampler, size, backend):
    whole, cut = buffer_of(sampler, backend), buffer_of(sampler, backend)
    for _ in range(4):
        same(whole.draw(8, 2), cut.draw(8, 2, batch_size=size))
    same(whole.states, cut.states)


def test_batches_take_their_labels_and_keywords_along(backend):
    sampler = isotherm.LangevinDynamics(Quadratic(), step_size=1.0, noise_scale=0.0)
    options = {"n_classes": 3, "backend": backend}
    whole, cut = buffer_of(sampler, **options), buffer_of(sampler, **options)
    for buffer, size in ((whole, None), (cut, 3)):
        states, labels = buffer.draw(8, 1, batch_size=size)
        expected = np.repeat(host(labels)[:, None], 3, axis=1)
        np.testing.assert_allclose(host(states), expected, atol=1e-6)
    same(whole.states, cut.states)
    plain = buffer_of(sampler, backend=backend)
    rows = {"labels": getattr(plain.states, "new_tensor", np.asarray)(np.arange(8.0))}
    states = plain.draw(8, 1, model_kwargs=rows, batch_size=3)
    np.testing.assert_allclose(host(states)[:, 0], np.arange(8.0), atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_goes_on_from_its_state_with_the_same_bits(sampler, backend):
    whole = buffer_of(sampler, n_classes=2, label_keyword=None, reinit_probability=0.2)
    ends = [host(whole.draw(6, 3)[0]) for _ in range(8)]
    first = buffer_of(sampler, n_classes=2, label_keyword=None, reinit_probability=0.2)
    for _ in range(4):
        first.draw(6, 3)
    held = first.state_dict()
    for _ in range(3):
        first.draw(6, 3)  # what is held does not follow
    options = {"seed": 1, "n_classes": 2, "label_keyword": None, "reinit_probability": 0.2}
    second = buffer_of(sampler, backend, **options)
    second.load_state_dict(held)
    same(ends[4:], [host(second.draw(6, 3)[0]) for _ in range(4)])
    for name in ("n_drawn", "n_reinitialised", "n_diverged", "seed"):
        assert getattr(second, name) == getattr(whole, name)
    assert isinstance(held["states"], np.ndarray)


def test_momenta_are_kept(backend):
    """Without friction and force a chain goes on in its direction, from draw to draw."""
    free = isotherm.UnderdampedLangevin(isotherm.HarmonicEnergy(k=0.0), step_size=0.1, friction=0.0)
    buffer = buffer_of(free, backend, capacity=4, reinit_probability=0.0)
    ends = [buffer.draw(4, 5) is not None and host(buffer.states) for _ in range(3)]
    np.testing.assert_allclose(ends[2] - ends[1], ends[1] - ends[0], rtol=1e-5)
    assert np.abs(ends[1] - ends[0]).min() > 0.0
    assert "momenta" in buffer.state_dict()


def test_classes_have_slots_of_their_own(backend):
    buffer = buffer_of(
        backend=backend, n_classes=5, capacity=23, label_keyword=None, reinit_probability=0.0
    )
    assert np.bincount(buffer.classes).tolist() == [4, 5, 4, 5, 5]
    wanted = [4, 0, 4, 4, 2, 0]
    before = buffer.ages.copy()
    states, labels = buffer.draw(6, 1, labels=wanted)
    same(labels, wanted)
    moved = np.flatnonzero(buffer.ages > before)
    assert sorted(buffer.classes[moved]) == sorted(wanted)
    for row, label in zip(host(states), wanted, strict=True):
        (slot,) = np.flatnonzero((host(buffer.states) == row).all(1))
        assert buffer.classes[slot] == label
    seen = np.concatenate([host(buffer.draw(10, 1)[1]) for _ in range(40)])
    assert np.bincount(seen, minlength=5).min() > 40


def test_a_function_makes_starts_of_normals(backend):
    centres = np.array([[0.0, 0.0, 0.0], [100.0, 100.0, 100.0]], np.float32)

    def informative(z, labels):
        rows = getattr(z, "new_tensor", np.asarray)(centres)
        return rows[labels] + 0.5 * z

    still = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(k=0.0), noise_scale=0.0)
    buffer = buffer_of(still, backend, n_classes=2, label_keyword=None, init=informative)
    states, labels = map(host, buffer.draw(24, 1))
    assert (np.abs(states - 100.0 * labels[:, None]) < 3.0).all()
    assert abs((states - 100.0 * labels[:, None]).std() - 0.5) < 0.2


def test_starts_are_picked_from_an_array(backend):
    still = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(k=0.0), noise_scale=0.0)
    data = np.arange(12.0).reshape(4, 3)
    states = host(buffer_of(still, backend, init=data).draw(24, 1))
    assert {tuple(row) for row in states} == {tuple(row) for row in data}


def test_uniform_starts_fill_their_range():
    still = isotherm.LangevinDynamics(isotherm.HarmonicEnergy(k=0.0), noise_scale=0.0)
    buffer = buffer_of(still, capacity=2000, init_range=(2.0, 6.0), shape=(3, 2))
    states = host(buffer.draw(2000, 1))
    assert states.min() >= 2.0
    assert states.max() <= 6.0
    np.testing.assert_allclose(states.mean(0), 4.0, atol=4 * (16 / 12 / 2000) ** 0.5)
    np.testing.assert_allclose(states.var(0), 16 / 12, rtol=0.1)
    assert np.abs(np.corrcoef(states.reshape(2000, -1).T) - np.eye(6)).max() < 0.1


@pytest.mark.parametrize("sampler", ["langevin", "underdamped"])
def test_chains_that_diverge_begin_anew_and_are_counted(sampler, backend):
    made = SAMPLERS[sampler].__class__(isotherm.DoubleWellEnergy(), step_size=0.2)
    starts = np.array([[0.0, 0.0, 0.0], [1e6, 0.0, 0.0]])
    buffer = buffer_of(made, backend, init=starts)
    with pytest.raises(isotherm.DivergenceError, match="begin anew; take a smaller step_size"):
        buffer.draw(24, 6, on_divergence="raise")
    assert buffer.n_drawn == 0
    assert not host(buffer.states).any()
    with pytest.warns(isotherm.DivergenceWarning, match=r"of 24 chains left the finite numbers"):
        states = host(buffer.draw(24, 6))
    assert np.isfinite(states).all()
    n_lost = int((buffer.ages == 0).sum())
    assert 4 < n_lost < 20
    assert buffer.n_diverged == n_lost
    assert np.isfinite(host(buffer.states)).all()
    buffer.draw(24, 6, on_divergence="ignore")
    assert buffer.n_diverged > n_lost
    assert set(map(int, buffer.ages)) <= {0, 6, 12}


def test_a_run_that_fails_changes_nothing():
    class Breaking(Quadratic):
        n_calls = 0

        def gradient(self, x, labels=0.0):
            self.n_calls += 1
            if self.n_calls == 8:
                raise RuntimeError("broken")
            return super().gradient(x)

    broken, whole = (
        buffer_of(isotherm.LangevinDynamics(e, step_size=0.1)) for e in (Breaking(), Quadratic())
    )
    broken.draw(8, 3)
    before = broken.state_dict()
    with pytest.raises(RuntimeError, match="broken"):
        broken.draw(8, 5)
    after = broken.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    whole.draw(8, 3)
    same(broken.draw(8, 5), whole.draw(8, 5))


def test_what_a_buffer_cannot_be_made_of_is_refused():
    langevin = SAMPLERS["langevin"]
    for wrong, sentence in [
        ({"sampler": WELL}, "sampler must be a sampler, for example"),
        ({"capacity": 0}, "capacity must be an integer of at least 1"),
        ({"capacity": 2**40}, "capacity must be at most"),
        ({"capacity": 3.0}, "capacity must be an integer, not 3.0"),
        ({"shape": None}, "give shape, that of one chain's state"),
        ({"shape": (2, 0)}, "dim must be an integer of at least 1"),
        ({"reinit_probability": 1.5}, r"reinit_probability must be in \[0, 1\], not 1.5"),
        ({"reinit_probability": "often"}, r"reinit_probability must be in \[0, 1\]"),
        ({"n_classes": 30}, "30 classes need as many slots at least, and capacity is 24"),
        ({"n_classes": 0}, "n_classes must be an integer of at least 1"),
        ({"init": "zeros"}, "init must be 'uniform', 'normal', an array or a function"),
        ({"init": np.zeros((4, 2))}, r"init must have shape \(n, 3\), not \(4, 2\)"),
        ({"init": np.full((4, 3), np.nan)}, "init holds NaN"),
        ({"init_range": (1.0, 1.0)}, r"init_range must be \(low, high\), finite and low < high"),
        ({"init_range": 3}, "init_range must be"),
        ({"init": "normal", "init_range": (0, 1)}, "init_range is for init='uniform'"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"device": "cuda:99"}, "cuda:99"),
    ]:
        options = {"sampler": langevin, "capacity": 24, "shape": 3} | wrong
        with pytest.raises(InputError, match=sentence):
            isotherm.ChainBuffer(**options)
    with pytest.raises(TypeError, match="did you mean capacity"):
        isotherm.ChainBuffer(langevin, capacty=3)


def test_what_cannot_be_drawn_is_refused_and_nothing_changes():
    buffer = buffer_of(
        n_classes=3, label_keyword="y", sampler=isotherm.LangevinDynamics(Quadratic())
    )
    plain = buffer_of()
    for which, wrong, sentence in [
        (buffer, {"n": 25}, "n is 25, and the buffer has 24 slots"),
        (buffer, {"n": 0}, "n must be an integer of at least 1"),
        (buffer, {"n_steps": 0}, "n_steps must be an integer of at least 1"),
        (buffer, {"batch_size": 0}, "batch_size must be an integer of at least 1"),
        (buffer, {"labels": [0, 1]}, "labels must be 4 integers, one for each chain"),
        (buffer, {"labels": [0.0, 1.0, 2.0, 0.0]}, "labels must be 4 integers"),
        (buffer, {"labels": [[0], [1, 2], 3, 0]}, "labels must be 4 integers"),
        (buffer, {"labels": [0, 1, 2, 3]}, "labels must be from 0 to 2, not 3"),
        (buffer, {"labels": [0, -1, 2, 1]}, "labels must be from 0 to 2, not -1"),
        (buffer, {"n": 9, "labels": [1] * 9}, "labels ask for 9 chains of class 1, which has 8"),
        (buffer, {"model_kwargs": {"y": 1}}, "the energy receives the labels as 'y'"),
        (buffer, {}, "does not take these model_kwargs: got an unexpected keyword argument 'y'"),
        (plain, {"labels": [0] * 4}, "the buffer has no classes; make it with n_classes="),
        (plain, {"on_divergence": "shout"}, "on_divergence must be 'warn', 'raise' or 'ignore'"),
    ]:
        with pytest.raises(InputError, match=sentence):
            which.draw(**{"n": 4, "n_steps": 2} | wrong)
        assert which.n_drawn == 0
    for returned, sentence in [
        (lambda z: z[:, :2], r"what init returned must have shape \(4, 3\), not \(4, 2\)"),
        (lambda z: z / 0.0, "what init returned holds NaN, infinity"),
        (lambda z: None, "what init returned must have shape"),
    ]:
        with pytest.raises(InputError, match=sentence), np.errstate(all="ignore"):
            buffer_of(init=returned).draw(4, 2)


@pytest.mark.parametrize("sampler", ["langevin", "underdamped"])
def test_a_state_that_is_not_one_is_refused_whole(sampler):
    source = buffer_of(sampler)
    drawn(source)
    good = source.state_dict()
    buffer = buffer_of(sampler, seed=2)
    buffer.draw(8, 2)
    before = buffer.state_dict()
    states, ages = good["states"], good["ages"]
    wrong = [
        (None, "a buffer's state has the names ages, "),
        ([1, 2], "a buffer's state has the names"),
        ({}, "a buffer's state has the names"),
        (good | {"more": 1}, "a buffer's state has the names"),
        ({k: v for k, v in good.items() if k != "ages"}, "a buffer's state has the names"),
        (buffer_of(sampler, capacity=25).state_dict(), "of another buffer: its capacity is 25"),
        (
            buffer_of(sampler, shape=(3, 1)).state_dict(),
            r"its shape is \[3, 1\], and this one's is",
        ),
        (
            buffer_of(sampler, n_classes=2).state_dict(),
            "its n_classes is 2, and this one's is 0",
        ),
        (good | {"sampler": "mala"}, "its sampler is 'mala'"),
        (good | {"shape": [np.array([3, 3])]}, "its shape is"),
        (good | {"n_drawn": 2**62}, "more than the noise stream can number"),
        (good | {"version": True}, "its version is True, and this one's is 1"),
        (good | {"dtype": "float64"}, "its dtype is 'float64'"),
        (good | {"seed": -1}, r"the state's seed must be an integer in \[0, 2\*\*64\), not -1"),
        (good | {"n_drawn": 1.0}, "the state's n_drawn must be an integer"),
        (good | {"n_diverged": "many"}, "the state's n_diverged must be an integer"),
        (good | {"ages": ages[:-1]}, "the state's ages must be 24 int64 numbers"),
        (good | {"ages": -1 - ages}, "the state's ages must be 24 int64 numbers, none negative"),
        (good | {"ages": ages.astype(float)}, "the state's ages must be 24 int64 numbers"),
        (good | {"ages": [0] * 24}, "the state's ages must be 24 int64 numbers"),
        (good | {"states": states[:, :2]}, r"the state's states must be an array of float32 and"),
        (good | {"states": states.astype("f8")}, "not one of float64"),
        (good | {"states": states.astype(object)}, "not one of object"),
        (good | {"states": np.ma.masked_array(states)}, "is a masked array"),
        (good | {"states": states * np.nan}, "the state's states holds NaN"),
        (good | {"states": "x" * 1000}, "the state's states must be an array of float32"),
    ]
    if sampler == "underdamped":
        wrong.append((good | {"momenta": states[:4]}, "the state's momenta must be an array"))
    for state, sentence in wrong:
        with pytest.raises(InputError, match=sentence) as caught:
            buffer.load_state_dict(state)
        assert len(str(caught.value)) < 400
        after = buffer.state_dict()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)
    buffer.load_state_dict(good)
    same(buffer.draw(8, 2), source.draw(8, 2))


def test_what_was_loaded_is_a_copy():
    source, buffer = buffer_of(), buffer_of()
    drawn(source)
    held = source.state_dict()
    buffer.load_state_dict(held)
    held["states"][...] = 5.0
    held["ages"][...] = 5
    same(buffer.states, source.states)
    same(buffer.ages, source.ages)


def test_copies_and_pickles_are_buffers_of_their_own():
    source = buffer_of(init="uniform")
    drawn(source, 2)
    for other in (copy.deepcopy(source), pickle.loads(pickle.dumps(source))):
        same(other.draw(8, 3), copy.deepcopy(source).draw(8, 3))
        other.load_state_dict(buffer_of(seed=3).state_dict())
        same(other.draw(8, 3), buffer_of(seed=3).draw(8, 3))


def test_an_array_of_starts_is_copied(backend):
    starts = np.zeros((4, 3), np.float32)
    buffer = buffer_of(backend=backend, init=starts)
    starts[...] = 50.0
    assert host(buffer.draw(8, 1)).max() < 10.0


def test_the_state_goes_through_savez_without_pickle(backend):
    source, buffer = buffer_of(backend=backend), buffer_of(backend=backend, seed=1)
    drawn(source, 2)
    file = io.BytesIO()
    np.savez(file, **source.state_dict())
    file.seek(0)
    buffer.load_state_dict(np.load(file, allow_pickle=False))
    same(buffer.draw(8, 2), source.draw(8, 2))


def test_threads_draw_one_after_another():
    class Waiting(Quadratic):
        """The draw that comes first waits until the other is on its way, too."""

        def gradient(self, x, labels=0.0):
            began.wait(10.0)
            return super().gradient(x)

    began, found = threading.Event(), [None, None]
    buffer = buffer_of(isotherm.LangevinDynamics(Waiting(), step_size=0.1))

    def draw(i):
        if i:
            began.set()
        found[i] = buffer.draw(8, 2)

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert buffer.n_drawn == 16
    whole = buffer_of(isotherm.LangevinDynamics(Quadratic(), step_size=0.1))
    both = [host(whole.draw(8, 2)) for _ in range(2)]
    same(sorted(map(float, np.ravel(found))), sorted(map(float, np.ravel(both))))


def test_the_info_is_of_all_batches():
    whole, cut = buffer_of("mala"), buffer_of("mala")
    whole.draw(24, 5)
    cut.draw(24, 5, batch_size=23)
    assert 0.0 < cut.info.acceptance_rate == whole.info.acceptance_rate < 1.0
    assert cut.info.n_stuck_chains == whole.info.n_stuck_chains


@pytest.mark.parametrize("init", ["uniform", "normal"])
def test_starts_are_reflected_into_the_bounds(init):
    made = copy.copy(SAMPLERS["langevin"])
    made.bounds = (0.25, 0.5)
    states = host(buffer_of(made, init=init).draw(24, 1))
    assert ((states > 0.25) & (states < 0.5)).all()
    with pytest.raises(InputError, match="init holds values outside of the bounds"):
        buffer_of(made, init=np.ones((2, 3)))


def test_chains_without_an_energy_begin_anew():
    torch = pytest.importorskip("torch")
    outside = isotherm.LangevinDynamics(lambda x: (x - torch.log(x)).sum(1), step_size=0.5)
    buffer = buffer_of(outside, "torch", shape=1, init=np.full((1, 1), 0.5))
    with pytest.warns(isotherm.DivergenceWarning, match="where the energy is NaN"):
        buffer.draw(24, 30, batch_size=10)
    assert 0 < buffer.n_diverged == (buffer.ages == 0).sum() == buffer.info.divergence.n_chains
