"""Chains shared out among workers: the bits of one machine, and workers that die."""

import multiprocessing
import pickle
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
from distributed import Client, LocalCluster

import isotherm
from isotherm import DivergenceError, DivergenceWarning, InputError
from tests.long_runs.energies import WELL, Counted, Deadly, Faulty, Well, WellError

RUN = {
    "dim": 3, "n_samples": 101, "n_steps": 40, "burn_in": 5, "thinning": 3, "step_size": 0.01,
    "seed": 7, "chain_offset": 11, "return_trajectory": True, "return_diagnostics": True,
}  # fmt: skip
OF_INFO = (
    "seed", "backend", "device", "path", "n_steps", "divergence", "acceptance_rate",
    "n_divergences", "n_diverging_chains", "n_stuck_chains",
)  # fmt: skip
START = np.random.default_rng(0).normal(size=(101, 3)).astype(np.float32)

same = np.testing.assert_array_equal
Processes = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def processes():
    with Processes(2) as pool:
        yield pool


@pytest.fixture
def threads():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def run(energy=WELL, x=None, executor=None, n_shares=None, progress=False, **options):
    options = {"backend": "numpy"} | RUN | options
    if x is not None:
        del options["dim"]
    plan = isotherm.make_plan(energy, x, **options)
    return isotherm.run(plan, energy, x, executor=executor, n_shares=n_shares, progress=progress)


def assert_same_run(got, expected):
    """Equal to the bit, diagnostics included."""
    same(got.samples, expected.samples)
    same(got.trajectory, expected.trajectory)
    for name in ("mean", "variance", "energy", "steps"):
        same(getattr(got.diagnostics, name), getattr(expected.diagnostics, name), err_msg=name)
    for name in OF_INFO:
        assert getattr(got.info, name) == getattr(expected.info, name), name
    same(got.info.noise_scale, expected.info.noise_scale)


@pytest.mark.parametrize(
    "start", [None, START, START[0], START[:1]], ids=["drawn", "rows", "one", "row"]
)
def test_the_bits_are_those_of_one_machine(backend, threads, start):
    options = {"backend": backend, "x": start}
    if start is not None and start.shape != START.shape:
        options["n_samples"] = 101
    assert_same_run(run(executor=threads, n_shares=5, **options), run(**options))


@pytest.mark.parametrize("n_shares", [1, 2, 7, 101, 1000])
def test_into_how_many_shares_does_not_matter(threads, n_shares):
    assert_same_run(run(executor=threads, n_shares=n_shares), run())


@pytest.mark.parametrize("scale", [np.linspace(0.5, 2.0, 101)[:, None], np.linspace(0.5, 2.0, 45)])
def test_what_is_told_of_the_law_is_of_all_chains(threads, scale):
    assert_same_run(run(executor=threads, noise_scale=scale), run(noise_scale=scale))


def test_rates_are_those_of_one_machine(threads):
    options = {"sampler": "hmc", "step_size": 0.5, "x": 3 * START, "on_divergence": "ignore"}
    expected = run(**options)
    assert_same_run(run(executor=threads, **options), expected)
    assert 0 < expected.info.acceptance_rate < 1
    nothing = run(executor=threads, **options, n_steps=0, thinning=1)
    assert nothing.info.acceptance_rate is None


@isotherm.formula
def root(x):
    """Of x > 0."""
    return x - 1e-6 * isotherm.math.sqrt(x)


def test_chains_outside_of_the_support_are_told_as_by_one_machine(threads):
    x = 30 + START[:, :1]
    x[[5, 50]] = -1.0
    options = {"energy": root(), "x": x, "sampler": "hmc", "step_size": 0.1}
    with pytest.warns(DivergenceWarning, match="2 of 101 chains start where the energy is NaN"):
        expected = run(**options)
    with pytest.warns(DivergenceWarning, match="2 of 101 chains start where the energy is NaN"):
        assert_same_run(run(executor=threads, **options), expected)


def test_processes_give_the_same(processes):
    assert_same_run(run(executor=processes, x=START), run(x=START))
    assert_same_run(run(Well(), executor=processes), run(Well()))


def test_shares_are_handed_out_outside_of_torch_s_inference_mode():
    """A worker that is forked where they are has the mode, and can differentiate nothing in it."""
    torch = pytest.importorskip("torch")
    network, modes = torch.nn.Linear(3, 1), []

    class Here(Executor):
        def submit(self, function, /, *args, **kwargs):
            modes.append(torch.is_inference_mode_enabled())
            future = Future()
            future.set_result(function(*args, **kwargs))
            return future

    with torch.inference_mode():
        x = torch.zeros(4, 3)
        expected = isotherm.sample_chain(network, x, n_steps=3, seed=0)
        got = isotherm.sample_chain(network, x, n_steps=3, seed=0, executor=Here())
    assert set(modes) == {False}
    assert torch.equal(got, expected)


def test_one_chain_and_float64(threads):
    options = {"n_samples": 1, "dtype": "float64"}
    got = run(executor=threads, **options)
    assert_same_run(got, run(**options))
    assert not got.diagnostics.variance.any()


class Backwards(Executor):
    """Does what it is given, once that is `count` tasks, from the last to the first."""

    def __init__(self, count):
        self.count = count
        self.tasks = []

    def submit(self, function, *arguments):
        future = Future()
        self.tasks.append(lambda: future.set_result(function(*arguments)))
        if len(self.tasks) == self.count:
            threading.Thread(target=lambda: [task() for task in reversed(self.tasks)]).start()
        return future


def test_neither_number_of_workers_nor_order_shows_in_any_bit(processes):
    far = {"x": START + 1000, "energy": isotherm.HarmonicEnergy(k=0.1), "n_shares": 10}
    expected = run(**{key: value for key, value in far.items() if key != "n_shares"})
    for executor in (processes, ThreadPoolExecutor(1), ThreadPoolExecutor(5), Backwards(10)):
        assert_same_run(run(executor=executor, **far), expected)
        if executor is not processes:
            executor.shutdown()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_arrays_come_back_in_the_library_they_came_from(threads, dtype):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, dtype)
    x = torch.from_numpy(START).to(dtype)
    got = run(x=x, executor=threads, n_shares=5, backend="torch")
    expected = run(x=x, backend="torch")
    for name in ("samples", "trajectory"):
        assert getattr(got, name).dtype == dtype
        assert torch.equal(getattr(got, name), getattr(expected, name))
    assert got.diagnostics.mean.dtype == dtype
    assert torch.equal(got.diagnostics.mean, expected.diagnostics.mean)


class Measuring(ThreadPoolExecutor):
    """Threads that are told how large what is sent would be."""

    def __init__(self):
        super().__init__(2)
        self.bytes = []

    def submit(self, function, *arguments):
        self.bytes.append(len(pickle.dumps(arguments)))
        return super().submit(function, *arguments)


class Conditioned:
    def __call__(self, x, at, scale=1.0):
        return (scale * (x - at) ** 2).sum(dim=1)


def test_conditioning_is_shared_out_with_its_chains(threads):
    torch = pytest.importorskip("torch")
    energy, at = Conditioned(), torch.linspace(0, 1, 101)[:, None]
    options = RUN | {"return_diagnostics": False, "backend": "torch", "n_steps": 6}
    for keywords in ({"at": at, "scale": 2.0}, {"at": at[:1], "scale": torch.tensor(2.0)}):
        chains = partial(isotherm.sample_chain, energy, **options, model_kwargs=keywords)
        assert torch.equal(chains(executor=threads), chains())
    chains = partial(isotherm.sample_chain, energy, **options | {"dim": 500})
    with Measuring() as executor:
        chains(executor=executor, x=None, model_kwargs={"at": torch.zeros(101, 500)})
    assert max(executor.bytes) < 101 * 500 * 4 / 10
    with pytest.raises(InputError, match=r"'at'.*not clear whether it has one row a chain"):
        isotherm.sample_chain(
            energy, **options | {"n_samples": 3}, executor=threads, model_kwargs={"at": at[:3]}
        )
    with pytest.raises(InputError, match="does not take these model_kwargs"):
        isotherm.sample_chain(energy, **options, executor=threads, model_kwargs={"a": at})


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_divergence_is_reported_once(request, kind):
    # Without noise x is multiplied by -2**10 in each step: of the 20 only the first 12 are finite.
    x = np.zeros((100, 1), dtype=np.float32)
    x[[3, 40, 99], 0] = 1, 1, 1e-3
    exploding = isotherm.HarmonicEnergy(k=1025.0)
    plan = partial(
        isotherm.make_plan, exploding, x, n_steps=20, step_size=1.0, noise_scale=0.0,
        backend="numpy",
    )  # fmt: skip
    executor = request.getfixturevalue(kind)
    with pytest.warns(DivergenceWarning, match="3 of 100 chains left") as caught:
        got = isotherm.run(plan(), exploding, x, executor=executor)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert got.info.divergence == isotherm.Divergence(13, 3)
    quiet = isotherm.run(plan(on_divergence="ignore"), exploding, x, executor=executor)
    assert quiet.info.divergence is None
    same(quiet.samples, got.samples)
    with pytest.raises(DivergenceError, match=r"1 of \d chains left"):
        isotherm.run(plan(on_divergence="raise"), exploding, x, executor=executor)


def test_an_error_of_the_energy_is_raised(processes, threads):
    for executor in (processes, threads):
        with pytest.raises(ZeroDivisionError, match="deep") as caught:
            run(Faulty(ZeroDivisionError, "deep"), executor=executor)
        assert any("in gradient" in note for note in caught.value.__notes__)
    with pytest.raises(RuntimeError, match=r"WellError: no well at 3 \(0.5\)"):
        run(Faulty(WellError, "3", 0.5), executor=processes)
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        run(Faulty(InputError, "x has shape (5,)"), executor=processes)
    assert_same_run(run(executor=processes), run())  # the workers are as good as before


class Unsendable(Well):
    def __reduce__(self):
        raise TypeError("cannot pickle this")


def test_what_cannot_be_sent(processes, threads):
    with pytest.raises(InputError, match="cannot be sent to a worker"):
        run(Unsendable(), executor=processes)
    assert_same_run(run(Unsendable(), executor=threads), run(Well()))


def test_a_formula_is_sent_as_its_program(processes):
    strength = 1.0
    energy = isotherm.formula(lambda x: strength * x * x)()  # which no worker could import
    strength = 2.0  # nor would it know this
    assert_same_run(run(energy, executor=processes), run(energy))


def test_a_dead_worker_s_shares_are_run_again_by_a_new_executor(tmp_path):
    made = []

    def make():
        made.append(Processes(2))
        return made[-1]

    assert_same_run(run(Deadly(tmp_path, 1), executor=make), run(Well()))
    assert len(made) == 2
    for pool in made:
        with pytest.raises(RuntimeError, match=r"shutdown|broken|terminated"):
            pool.submit(print)


def test_a_dead_worker_s_shares_are_run_again_here(tmp_path):
    with Processes(2) as pool, pytest.warns(RuntimeWarning, match="run in this process") as caught:
        got = run(Deadly(tmp_path, 1), executor=pool)
    assert caught[0].filename == __file__
    assert_same_run(got, run(Well()))


def test_a_share_that_kills_every_worker_is_given_up(tmp_path):
    with pytest.raises(BrokenExecutor) as caught:
        run(Deadly(tmp_path, 1000), executor=partial(Processes, 1), n_shares=2)
    assert "3 executors in turn broke" in caught.value.__notes__[-1]
    assert len(list(tmp_path.iterdir())) == 3


def test_dask_runs_a_dead_worker_s_shares_again(tmp_path):
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        executor = client.get_executor()
        assert_same_run(run(executor=executor, x=START), run(x=START))
        assert_same_run(run(Deadly(tmp_path, 1), executor=executor), run(Well()))
        assert len(list(tmp_path.iterdir())) == 1

        class Local(Well):
            pass

        assert_same_run(run(Local(), executor=executor), run(Local()))


def test_progress_is_told_as_shares_are_done(threads):
    told = []
    result = run(executor=threads, n_shares=4, progress=lambda *at: told.append(at))
    # Shares are nearly as large as each other, and done in any order.
    assert [total for _, total in told] == [45] * 4
    np.testing.assert_allclose([done for done, _ in told], [12, 23, 34, 45], atol=1)
    assert result.info.n_steps == 45


def test_ctrl_c_calls_off_the_shares_that_have_not_begun(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        run(Counted(tmp_path), executor=pool, progress=interrupt, n_steps=3, burn_in=0)
    done = len(list(tmp_path.iterdir()))
    assert 0 < done < 64 * 3


def test_a_worker_s_ctrl_c_is_plain(threads):
    with pytest.raises(KeyboardInterrupt) as caught:
        run(Faulty(KeyboardInterrupt), executor=threads)
    assert type(caught.value) is KeyboardInterrupt


def test_both_faces_take_an_executor(threads):
    options = {key: value for key, value in RUN.items() if key != "step_size"}
    states, diagnostics = isotherm.LangevinDynamics(WELL, step_size=0.01).sample_chain(
        **options, executor=threads
    )
    expected, expected_diagnostics = isotherm.sample_chain(WELL, **RUN, executor=threads)
    same(states, expected)
    same(diagnostics, expected_diagnostics)


class Returning(ThreadPoolExecutor):
    """Whose submit returns what a function makes of what should be run."""

    def __init__(self, make):
        super().__init__(1)
        self.make = make

    def submit(self, function, *task):
        return self.make(partial(function, *task))


def done(value):
    future = Future()
    future.set_result(value)
    return future


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": 3}, "executor must be an executor of concurrent.futures' kind.*not 3"),
        ({"executor": map}, "executor must be an executor of concurrent.futures' kind"),
        ({"executor": lambda n_workers: None}, "a function without arguments that makes one"),
        ({"executor": SimpleNamespace(map=map)}, "with submit and shutdown"),
        ({"executor": SimpleNamespace(submit=3, shutdown=print)}, "with submit and shutdown"),
        ({"executor": Returning(lambda run: 3)}, r"submit must return .*Future, not 3; of Dask"),
        ({"executor": Returning(lambda run: done(None))}, "must hold what .* one holds None"),
        (
            {"executor": Returning(lambda run: done([run()[0]] * 99))},
            "must hold what the functions",
        ),
        ({"executor": Returning(lambda run: done([1]))}, "must hold what .* one holds .1."),
        ({"executor": ThreadPoolExecutor, "n_shares": 0}, "n_shares must be an integer"),
        ({"executor": ThreadPoolExecutor, "n_shares": True}, "n_shares must be an integer"),
        ({"n_shares": 3}, "give both"),
        ({"executor": ThreadPoolExecutor, "callback": print}, "leave out callback or executor"),
        ({"executor": ThreadPoolExecutor, "store": "run.zarr"}, "leave out store or executor"),
        ({"executor": ThreadPoolExecutor, "x": START[:5]}, "the plan was made without x"),
        ({"executor": ThreadPoolExecutor, "progress": 3}, "progress must be"),
    ],
)
def test_what_is_refused(arguments, message):
    plan = isotherm.make_plan(WELL, **RUN)
    with pytest.raises(InputError, match=message):
        isotherm.run(plan, WELL, **arguments)


def test_a_result_that_does_not_fit_into_memory_is_refused(threads, monkeypatch):
    monkeypatch.setattr("isotherm._runs.executors.host_memory", lambda: 1000)
    with pytest.raises(InputError, match="this process can have 1000 B"):
        run(executor=threads)


def test_a_formula_of_a_notebook_travels_by_value():
    @isotherm.formula(dim=2)
    def bowl(x, *, k=2.0):
        return k * x[0] * x[0] + x[1] * x[1]

    there = cloudpickle.loads(cloudpickle.dumps(bowl(k=3.0)))
    options = {"n_samples": 3, "n_steps": 5, "seed": 0, "backend": "numpy"}
    same(isotherm.sample_chain(there, **options), isotherm.sample_chain(bowl(k=3.0), **options))


class _Cancelling(ThreadPoolExecutor):
    """Whose futures somebody else cancels, all but the first."""

    def submit(self, function, *task):
        future = Future()
        if getattr(self, "began", False):
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            self.began = True
            future.set_result(function(*task))
        return future


def test_shares_that_are_called_off_are_told():
    with pytest.raises(
        BrokenExecutor, match=r"the executor called off shards of the run, \d of which"
    ):
        run(executor=_Cancelling(1), n_shares=3)


@pytest.mark.parametrize("made", [None, 3, "an executor"])
def test_a_function_that_makes_no_executor_is_refused(made):
    with pytest.raises(InputError, match="must return one of concurrent"):
        run(executor=lambda: made)


def memoising():
    """An executor that remembers one result."""
    held = []
    return Returning(lambda run: done((held or held.append(run()) or held)[0]))


def changing(**changes):
    """An executor whose results come back with other arrays."""

    def change(run):
        outcome = run()
        return done(outcome._replace(found=[replace(one, **changes) for one in outcome.found]))

    return Returning(change)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (memoising(), "each for the arguments given with it; one holds what another call"),
        (changing(samples=np.ones((1, 2), np.float32)), r"shape \(1, 2\) where one of float32"),
        (changing(samples=np.ones((34, 2))), "came back with an array of shape"),
        (changing(trajectory=None), r"came back with an array of shape \(\) where"),
    ],
    ids=["memoising", "shape", "dtype", "none"],
)
def test_what_is_not_the_shards_own_is_refused(executor, message):
    plan = isotherm.make_plan(WELL, **RUN)
    with pytest.raises(InputError, match=message):
        isotherm.run(plan, WELL, executor=executor, n_shares=3)


def test_an_executor_that_takes_nothing_is_refused():
    closed = ThreadPoolExecutor(1)
    closed.shutdown()

    def refuse(run):
        raise ValueError("no more")

    for executor, why in ((closed, "after shutdown"), (Returning(refuse), "ValueError: no more")):
        with pytest.raises(InputError, match=rf"the executor takes no shard of .*{why}.*; give"):
            run(executor=executor)


@pytest.mark.parametrize("kind", [TimeoutError, SystemExit, StopIteration])
def test_what_an_executor_raises_is_told_from_what_a_shard_raises(kind):
    def fail(run):
        future = Future()
        future.set_exception(kind("x"))
        return future

    with pytest.raises(kind) as caught:
        run(executor=Returning(fail))
    assert any("raised by the executor" in note for note in caught.value.__notes__)


class Exhausted:
    def __call__(self, x):
        raise StopIteration("no more batches")

    gradient = __call__


def test_an_energy_that_stops_an_iteration_is_told(threads):
    with pytest.raises(StopIteration, match="no more batches"):
        run(Exhausted(), executor=threads)


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    def __reduce__(self):
        raise RuntimeError("no pickle")


class Fails:
    def __call__(self, x):
        raise SpeechlessError

    gradient = __call__


def test_an_error_that_cannot_be_sent_nor_say_what_it_is_is_told(threads):
    with pytest.raises(RuntimeError, match="SpeechlessError: an error whose text cannot be had"):
        run(Fails(), executor=threads)
