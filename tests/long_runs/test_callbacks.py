"""What is told of a run while it lasts, and runs that are ended early."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isotherm
from isotherm import InputError
from isotherm._runs import advance as pieces
from isotherm.backend import Outputs

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {"dim": 2, "n_samples": 5, "n_steps": 60, "step_size": 0.05, "seed": 3}

same = np.testing.assert_array_equal


@pytest.fixture(autouse=True)
def many_pieces(limits):
    """Pieces of one block of steps, so that runs of the tests have several."""
    limits(piece_seconds=0.0)


def run(callback=None, energy=WELL, progress=False, **options):
    plan = isotherm.make_plan(energy, **{"backend": "numpy"} | RUN | options)
    return isotherm.run(plan, energy, callback=callback, progress=progress)


def test_a_callback_is_told_how_far_the_run_is():
    told = []
    result = run(told.append, burn_in=7, thinning=3, return_diagnostics=True)
    assert [status.n_steps for status in told] == [*range(4, 67, 4), 67]
    assert {status.n_total for status in told} == {67}
    assert [status.n_kept for status in told] == [max(0, s.n_steps - 7) // 3 for s in told]
    seconds = [status.seconds for status in told]
    assert seconds == sorted(seconds)
    assert told[3].rate == 16 / seconds[3]
    assert told[3].seconds_left == pytest.approx(seconds[3] * 51 / 16)
    assert told[-1].seconds_left == 0
    assert [status.energy for status in told[:2]] == [None, None]
    means = result.diagnostics.energy.mean(axis=1)
    assert [s.energy for s in told[2:]] == [float(means[s.n_kept - 1]) for s in told[2:]]
    assert {status.n_diverged for status in told} == {0}


def test_without_diagnostics_no_energy_is_told():
    told = []
    run(told.append)
    assert {status.energy for status in told} == {None}


@pytest.mark.parametrize("on_divergence", ["warn", "ignore"])
@pytest.mark.filterwarnings("ignore::isotherm.DivergenceWarning")
def test_divergences_are_told(on_divergence):
    # Without noise x is multiplied by -2**10 in each step: of the 20 only the first 12 are finite.
    exploding = isotherm.HarmonicEnergy(k=1025.0)
    x = np.array([[1.0], [0.0], [1.0]], dtype=np.float32)
    plan = isotherm.make_plan(
        exploding, x, n_steps=20, step_size=1.0, noise_scale=0.0, backend="numpy",
        on_divergence=on_divergence,
    )  # fmt: skip
    told = []
    isotherm.run(plan, exploding, x, callback=told.append)
    assert [status.n_diverged for status in told] == [0, 0, 0, 2, 2]


@pytest.mark.parametrize("stop", [4, 12, 60])
def test_a_run_that_is_ended_is_the_start_of_the_whole(backend, stop):
    options = {
        "burn_in": 6, "thinning": 4, "return_trajectory": True, "return_diagnostics": True,
        "backend": backend,
    }  # fmt: skip
    whole = run(**options)
    part = run(lambda status: status.n_steps >= stop, **options)
    assert part.info.n_steps == stop
    n_kept = max(0, stop - 6) // 4
    assert part.trajectory.shape == (5, n_kept, 2)
    same(part.trajectory, whole.trajectory[:, :n_kept])
    for name in ("mean", "variance", "energy", "steps"):
        same(getattr(part.diagnostics, name), getattr(whole.diagnostics, name)[:n_kept])
    final = isotherm.sample_chain(WELL, **RUN | {"n_steps": stop, "backend": backend})
    same(part.samples, final)


def test_both_faces_take_both():
    def stop(status):
        return status.n_steps >= 8

    seen = []
    options = {"return_trajectory": True, "callback": stop}
    run_ = {name: value for name, value in RUN.items() if name != "step_size"}
    sampler = isotherm.LangevinDynamics(WELL, step_size=0.05, backend="numpy")
    states = sampler.sample_chain(**run_, **options, progress=lambda *at: seen.append(at))
    assert seen == [(4, 60), (8, 60)]
    assert states.shape == (5, 8, 2)
    same(states, isotherm.sample_chain(WELL, **RUN, **options, backend="numpy"))


def test_the_answer_of_progress_ends_nothing():
    assert run(progress=lambda done, total: True).info.n_steps == 60


def test_pieces_of_a_costly_energy_are_short_from_the_first(monkeypatch, limits):
    clock = [0.0]

    class Costly:
        """A tenth of a second a gradient."""

        def gradient(self, x):
            clock[0] += 0.1
            return x

        def __call__(self, x):
            return x * x

    monkeypatch.setattr(pieces.time, "perf_counter", lambda: clock[0])
    limits(piece_seconds=0.25)
    told = []
    run(told.append, energy=Costly(), n_steps=12)
    assert [status.n_steps for status in told] == [4, 8, 12]
    result = run(lambda status: status.seconds > 0.3, energy=Costly(), n_steps=10_000)
    assert result.info.n_steps == 4


def test_ctrl_c_hands_back_what_was_done():
    class Interrupted:
        """Ctrl-C in the 30th step."""

        calls = 0

        def gradient(self, x):
            self.calls += 1
            if self.calls == 31:  # one is for the check
                raise KeyboardInterrupt
            return x

        def __call__(self, x):
            return x * x

    with pytest.raises(isotherm.RunInterrupted) as caught:
        run(energy=Interrupted())
    assert caught.value.result.info.n_steps == 28


BLOCKS = {"float32": 4, "float64": 2}


@given(
    dtype=st.sampled_from(sorted(BLOCKS)),
    seconds_a_step=st.floats(0, 1e3) | st.floats(1e-9, 1e-5),
    call=st.floats(0, 1e-2),
    cuts=st.lists(st.integers(1, 10**6), min_size=1, max_size=600),
)
def test_pieces_are_as_long_as_they_should_be_whatever_cuts_them(dtype, seconds_a_step, call, cuts):
    plan = isotherm.make_plan(WELL, **RUN, dtype=dtype, backend="numpy")
    length = longest = plan.steps_per_block
    for cut in cuts:
        taken = min(length, cut)
        seconds = call + taken * seconds_a_step
        new = pieces.next_length(plan, length, taken, seconds)
        assert new % BLOCKS[dtype] == 0
        longest = max(longest, taken)
        assert BLOCKS[dtype] <= new <= min(16 * longest, 2**20)
        if new > BLOCKS[dtype]:  # never longer than it may last by what is known
            assert new == length or new * seconds <= 0.25 * taken * 1.001
        length = new


def test_many_cuts_make_no_piece_endless():
    """A store's chunks cut every piece: each must not make the next one longer."""
    plan = isotherm.make_plan(WELL, **RUN, backend="numpy")
    length = 4
    for _ in range(2000):
        length = pieces.next_length(plan, length, 1, 1e-6)
    assert length <= 16


def test_a_slow_callback_does_not_make_pieces_shorter(monkeypatch, limits):
    clock = [0.0]

    def pass_time(seconds):
        clock[0] += seconds

    class Slow:
        """One second a step."""

        def gradient(self, x):
            pass_time(1.0)
            return x

        def __call__(self, x):
            return x * x

    monkeypatch.setattr(pieces.time, "perf_counter", lambda: clock[0])
    limits(piece_seconds=8.0)
    told = []

    def callback(progress):
        told.append(progress.n_steps)
        pass_time(1000.0)

    run(callback, energy=Slow())
    assert told == [4, *range(12, 61, 8)]


def test_a_device_is_waited_for_before_the_clock_is_read(monkeypatch, limits):
    """Its work is queued: what took no time to queue may take long."""
    clock, queued = [0.0], [0.0]

    class Queue:
        path = "a queue"

        def advance(self, state, start, stop, outputs):
            queued[0] += stop - start  # seconds
            return state

    def finite(x):
        clock[0] += queued[0]
        queued[0] = 0.0
        return True

    monkeypatch.setattr(pieces.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(pieces, "all_finite", finite)
    limits(piece_seconds=8.0)
    plan = isotherm.make_plan(
        WELL, **RUN | {"on_divergence": "ignore", "n_steps": 60, "burn_in": 0}, backend="numpy"
    )
    plan = replace(plan, device="cuda:0")
    recorder = SimpleNamespace(full_at=lambda: 60, outputs=lambda start, stop: Outputs())
    ends = [
        snapshot.n_steps
        for snapshot in pieces.advance(
            plan, Queue(), pieces.Snapshot({"x": np.zeros((2, 2))}), 60, recorder,
            has_callbacks=True,
        )
    ]  # fmt: skip
    assert ends == [4, *range(12, 61, 8)]


def test_users_code_has_users_floating_point_errors():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        run(lambda status: np.float32(3e38) * np.float32(2))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_a_callback_raises_is_raised(error):
    def callback(status):
        raise error

    with pytest.raises(error):
        run(callback, progress=True)


def test_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "200")
    run(progress=True, return_diagnostics=True)
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("sampling", "60/60", "steps/s", "60 kept", "energy"))
    run()
    assert capsys.readouterr().err == ""


def test_a_bar_without_rich_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "isotherm._runs.progress", raising=False)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(
        isotherm.ExtraNotInstalledError, match=r"pip install 'isotherm\[progress\]'"
    ):
        run(progress=True)


@pytest.mark.parametrize("bad", [{"progress": 1}, {"progress": None}, {"callback": True}])
def test_what_cannot_be_called_is_refused(bad):
    with pytest.raises(InputError, match="must be"):
        run(**bad)
