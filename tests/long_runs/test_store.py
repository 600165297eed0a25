"""Runs that are kept in a store: what is in it, going on, and what may go wrong."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

import isotherm
from isotherm import InputError, StoreError
from isotherm._plans.plan import PLAN_VERSION
from isotherm._store import folder, layout, writer

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)
RUN = {
    "dim": 2, "n_samples": 5, "n_steps": 60, "burn_in": 7, "thinning": 3, "step_size": 0.05,
    "seed": 3, "return_trajectory": True, "return_diagnostics": True, "backend": "numpy",
}  # fmt: skip

TOLD = ("mean", "variance", "energy", "steps", "energy_error", "step_size", "n_substeps")

same = np.testing.assert_array_equal


def run(path=None, energy=WELL, x=None, callback=None, **options):
    plan = isotherm.make_plan(energy, x, **RUN | options)
    return isotherm.run(plan, energy, x, store=path, callback=callback)


def check_same(result, other):
    """Everything that two runs have in common is equal to the bit."""
    same(result.samples, other.samples)
    same(result.trajectory, other.trajectory)
    for name in TOLD:
        found, expected = (getattr(one.diagnostics, name) for one in (result, other))
        same(*(np.nan if value is None else value for value in (found, expected)), name)
    same(result.info.noise_scale, other.info.noise_scale)
    same(result.info.frozen, other.info.frozen)


def python(*arguments):
    """Another Python at the end of its work."""
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zarr"


@pytest.fixture(autouse=True)
def small_pieces(limits):
    """Pieces of one block of steps, so that runs of the tests have several."""
    limits(piece_seconds=0.0)


@pytest.fixture(params=["one chunk", "chunks", "chains apart", "unfinished chunks"])
def files(request, limits):
    """How a run is cut into files: 20 draws of 5 chains of 8 bytes, or of 16."""
    if request.param != "one chunk":
        limits(least_chunk_bytes=0)
        size = 24 if request.param == "chains apart" else 6 * 5 * 8
        limits(chunk_bytes=size)
    if request.param == "unfinished chunks":
        request.getfixturevalue("each_piece")


@pytest.fixture
def each_piece(monkeypatch):
    """Every piece is written, also while the one before it is being written."""
    monkeypatch.setattr(writer.Writer, "_is_due", lambda self: True)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_stored_is_what_memory_would_hold(path, backend, dtype):
    options = {"backend": backend, "dtype": dtype}
    whole = run(**options)
    stored = run(path, **options)
    for result in (stored, isotherm.open_run(path)):
        check_same(result, whole)
        assert result.trajectory.dims == ("chain", "draw", "x_dim_0")
        same(result.diagnostics, whole.diagnostics)
        same(result.diagnostics[3, 2], whole.diagnostics[3, 2])
        assert result.info.n_steps == 67
        assert result.info.path == whole.info.path


@pytest.mark.usefixtures("files")
def test_xarray_and_zarr_read_it_by_themselves(path):
    whole = run(chain_offset=10)
    run(path, chain_offset=10)
    with xarray.open_zarr(path, chunks=None) as read:
        assert read.x.dims == ("chain", "draw", "x_dim_0")
        same(read.x, whole.trajectory)
        same(read.x.sel(chain=12, draw=3), whole.trajectory[2, 3])
        same(read.draw, np.arange(20))
        same(read.step, 7 + 3 * np.arange(1, 21))
        assert read.attrs["seed"] == 3
        assert read.attrs["energy"] == "DoubleWellEnergy"
        assert json.loads(read.attrs["plan"])["thinning"] == 3
        assert set(json.loads(read.attrs["versions"])) == {"isotherm", "numpy", "python", "zarr"}
        # As every file format takes them.
        assert all(isinstance(value, (int, str)) for value in read.attrs.values())
    with xarray.open_zarr(path, group="diagnostics", chunks=None) as read:
        same(read["mean"], whole.diagnostics.mean)
        same(read["energy"], whole.diagnostics.energy.T)
    assert read["energy"].dims == ("chain", "draw")
    same(zarr.open_array(path / "x", mode="r")[...], whole.trajectory)


def test_only_what_is_asked_for_is_returned(path):
    energy = WELL
    options = {key: value for key, value in RUN.items() if not key.startswith("return")}
    samples = isotherm.sample_chain(energy, **options, store=path)
    same(samples, isotherm.sample_chain(energy, **options))
    held = isotherm.open_run(str(path))
    assert held.trajectory.shape == (5, 20, 2)
    assert held.diagnostics is None
    sampler = isotherm.LangevinDynamics(energy, step_size=0.05, backend="numpy")
    del options["step_size"], options["backend"]
    states, diagnostics = sampler.sample_chain(
        **options, return_trajectory=True, return_diagnostics=True, store=path.with_name("other")
    )
    same(states, held.trajectory)
    assert diagnostics.shape == (20, 3, 5, 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(path, dtype):
    torch = pytest.importorskip("torch") if dtype == "bfloat16" else None
    backend = "numpy" if torch is None else "torch"
    whole = run(backend=backend, dtype=dtype)
    stored = run(path, backend=backend, dtype=dtype)
    assert stored.trajectory.dtype == ("float16" if torch is None else "float32")
    same(stored.trajectory, whole.trajectory if torch is None else whole.trajectory.float())
    longer = isotherm.resume(path, WELL, n_steps=9)
    expected = run(backend=backend, dtype=dtype, n_steps=69)
    same(longer.trajectory, expected.trajectory if torch is None else expected.trajectory.float())


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("stop", [4, 28, 60])
def test_a_run_that_was_ended_goes_on_as_if_it_had_not(path, backend, stop):
    part = run(path, callback=lambda status: status.n_steps >= stop, backend=backend)
    assert stop <= part.info.n_steps == isotherm.open_run(path).info.n_steps < stop + 4
    result = isotherm.resume(path, WELL)
    assert result.info.backend == backend
    check_same(result, run(backend=backend))
    check_same(isotherm.open_run(path), run(backend=backend))


@pytest.mark.parametrize("first", ["numpy", "numba", "torch"])
@pytest.mark.parametrize("second", ["numpy", "numba", "torch"])
def test_one_backend_goes_on_where_another_stopped(path, first, second):
    for name in {first, second} - {"numpy"}:
        pytest.importorskip(f"isotherm_{name}")
    run(path, callback=lambda status: status.n_steps >= 30, backend=first)
    result = isotherm.resume(path, WELL, backend=second)
    assert result.info.backend == second
    whole = run()
    same(result.samples, whole.samples)
    same(result.trajectory, whole.trajectory)
    np.testing.assert_allclose(result.diagnostics.energy, whole.diagnostics.energy, rtol=1e-5)


@pytest.mark.usefixtures("files")
def test_a_run_goes_on_beyond_its_plan(path):
    run(path)
    told = []
    result = isotherm.resume(path, WELL, n_steps=33, callback=told.append)
    check_same(result, run(n_steps=93))
    assert (told[-1].n_steps, told[-1].n_total, told[-1].n_before) == (100, 100, 67)
    assert told[-1].rate == pytest.approx(33 / told[-1].seconds)
    assert told[-1].seconds_left == 0
    # A few at a time, then the rest.
    run(path.with_name("other"), callback=lambda status: True)
    for n_steps in (1, 5, 20):
        part = isotherm.resume(path.with_name("other"), WELL, n_steps=n_steps)
    assert part.info.n_steps == 30
    check_same(isotherm.resume(path.with_name("other"), WELL), run())


@pytest.mark.parametrize("follows", [0.02, [0.04] * 12, lambda step: 0.1 / (1 + step)])
def test_schedules_that_follow(path, follows):
    first = 0.05 / (1 + np.arange(67))
    run(path, step_size=first, callback=lambda status: status.n_steps >= 20)
    with pytest.raises(InputError, match="say what follows: step_size="):
        isotherm.resume(path, WELL, n_steps=59)
    result = isotherm.resume(path, WELL, n_steps=59, step_size=follows)
    values = follows if not callable(follows) else [follows(step) for step in range(67, 79)]
    whole = run(step_size=[*first, *np.broadcast_to(values, 12)], n_steps=72)
    check_same(result, whole)
    assert isotherm.open_run(path).info.n_steps == 79


def test_decay_and_noise_that_follow(path):
    run(path, decay=0.01, noise_scale=0.5)
    result = isotherm.resume(path, WELL, n_steps=3, step_size=0.05, decay=0.01, noise_scale=0.5)
    check_same(result, run(decay=0.01, noise_scale=0.5, n_steps=63))


def test_a_start_in_mid_stream_and_a_clamp(path):
    x = np.linspace(-1, 1, 10).reshape(5, 2)
    options = {"x": x, "dim": None, "step_offset": 3, "chain_offset": 2**40, "clamp": (None, 1.0)}
    run(path, **options, callback=lambda status: status.n_steps >= 12)
    check_same(isotherm.resume(path, WELL), run(**options))


def test_events_of_several_axes(path):
    energy = isotherm.HarmonicEnergy()
    run(path, energy, dim=(2, 3), callback=lambda status: status.n_steps >= 12)
    result = isotherm.resume(path, energy)
    assert result.trajectory.dims == ("chain", "draw", "x_dim_0", "x_dim_1")
    check_same(result, run(energy=energy, dim=(2, 3)))


@pytest.mark.filterwarnings("ignore::isotherm.DivergenceWarning")
def test_a_divergence_is_remembered(path):
    exploding = isotherm.HarmonicEnergy(k=1025.0)
    options = {"dim": 1, "step_size": 1.0, "noise_scale": 0.0, "burn_in": 0, "thinning": 1}
    whole = run(energy=exploding, **options)
    run(path, exploding, **options, callback=lambda status: status.n_steps >= 40)
    assert isotherm.open_run(path).info.divergence == whole.info.divergence
    with pytest.warns(isotherm.DivergenceWarning, match="5 of 5 chains"):
        result = isotherm.resume(path, exploding)
    assert result.info.divergence == whole.info.divergence
    same(result.trajectory, whole.trajectory)
    other = path.with_name("other")
    with pytest.raises(isotherm.DivergenceError):
        run(other, exploding, **options, on_divergence="raise")
    good = isotherm.open_run(other)
    assert 0 < good.info.n_steps < whole.info.divergence.first_step
    same(good.trajectory, whole.trajectory[:, : good.info.n_steps])


class Interrupting:
    """A harmonic energy whose gradient is interrupted, as by Ctrl-C, at one call."""

    def __init__(self, at):
        self.left = at

    def __call__(self, x):
        return 0.5 * (x * x).sum(axis=1)

    def gradient(self, x):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return x


@pytest.mark.parametrize("at", [1, 2, 31, 66])
@pytest.mark.parametrize("is_stored", [False, True])
def test_ctrl_c_hands_back_what_is_done(path, at, is_stored):
    whole = run(energy=Interrupting(0))
    with pytest.raises(KeyboardInterrupt) as caught:
        # The gradient's shape is looked at once, before the first step.
        run(path if is_stored else None, Interrupting(at + 1))
    assert isinstance(caught.value, isotherm.RunInterrupted)
    part = caught.value.result
    assert part.info.n_steps == (at - 1) // 4 * 4
    n_kept = max(0, part.info.n_steps - 7) // 3
    same(part.trajectory, whole.trajectory[:, :n_kept])
    same(part.diagnostics.mean, whole.diagnostics.mean[:n_kept])
    assert f"after {part.info.n_steps} of 67 steps" in str(caught.value)
    if is_stored:
        check_same(isotherm.resume(path, Interrupting(0)), whole)


def test_an_error_of_the_energy_keeps_what_is_done(path):
    class Failing(Interrupting):
        def gradient(self, x):
            self.left -= 1
            return x / (1 if self.left else 1 // 0)

    with pytest.raises(ZeroDivisionError):
        run(path, Failing(31))
    assert isotherm.open_run(path).info.n_steps == 28
    check_same(isotherm.resume(path, Interrupting(0)), run(energy=Interrupting(0)))


@pytest.mark.usefixtures("each_piece")
@pytest.mark.parametrize("write", range(20, 60, 7))
def test_a_full_disk(path, write, monkeypatch):
    """From one write on, every write fails; then there is room again."""
    put, count = folder.Store._put, 0

    def full(self, name, content, *, flush):
        nonlocal count
        count += 1
        if count > write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        put(self, name, content, flush=flush)

    with monkeypatch.context() as patch:
        patch.setattr(folder.Store, "_put", full)
        with pytest.raises(OSError, match="No space left") as caught:
            run(path)
    assert "isotherm.resume goes on from there" in caught.value.__notes__[0]
    part = isotherm.open_run(path)
    whole = run()
    same(part.trajectory, whole.trajectory[:, : part.trajectory.shape[1]])
    check_same(isotherm.resume(path, WELL), whole)


def test_killed_at_every_write(tmp_path):
    program = Path(__file__).with_name("kills.py")
    done = python("-W", "error", program, tmp_path)
    assert done.returncode == 0, done.stderr
    run, resumed, of_format_1 = map(int, done.stdout.split())
    assert run > 40
    assert resumed == of_format_1 == 20


def test_nobody_else_may_write(path):
    refused = []

    def callback(status):
        with pytest.raises(StoreError, match="another run is writing") as caught:
            isotherm.resume(path, WELL)
        refused.append(caught.value)
        with pytest.raises(InputError, match=r"exists; go on with it by isotherm\.resume"):
            run(path)
        isotherm.open_run(path)  # to read is no harm
        return True

    run(path, callback=callback)
    assert refused
    isotherm.resume(path, WELL)


def test_another_process_may_not_write(path):
    program = (
        "import isotherm, sys\n"
        f"path = {str(path)!r}\n"
        "well = isotherm.DoubleWellEnergy(barrier_height=0.5)\n"
        "try:\n    isotherm.resume(path, well)\n"
        "except isotherm.StoreError as error:\n    print(error)\n"
    )
    told = []

    def callback(status):
        told.append(python("-c", program).stdout)
        return True

    run(path, callback=callback)
    assert "another run is writing" in told[0]


@pytest.mark.usefixtures("each_piece")
def test_reading_while_it_is_written(path):
    whole = run()
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            if path.exists():
                part = isotherm.open_run(path)
                seen.append((part.info.n_steps, np.asarray(part.trajectory), part.samples))

    reader = threading.Thread(target=read)
    reader.start()
    run(path)
    stop.set()
    reader.join()
    assert seen
    for n_steps, trajectory, samples in seen:
        same(trajectory, whole.trajectory[:, : trajectory.shape[1]])
        if n_steps > 7:
            same(samples, run(n_steps=n_steps - 7, thinning=1).samples)


def edit(change, *, is_sealed=True):
    """What changes the root's document; sealed, its digest is that of what it is then."""

    def tamper(path):
        file = path / "zarr.json"
        root = json.loads(file.read_text())
        change(root)
        if is_sealed and "plan" in root.get("attributes", {}):
            root["attributes"]["digest"] = layout._digest(root["attributes"])
        file.write_text(json.dumps(root))

    return tamper


def in_attribute(name, *, is_sealed=True, **values):
    def change(root):
        root["attributes"][name] = json.dumps(json.loads(root["attributes"][name]) | values)

    return edit(change, is_sealed=is_sealed)


def in_metadata(name, key, value):
    return edit(
        lambda root: root["consolidated_metadata"]["metadata"][name].__setitem__(key, value)
    )


def replaced_by_link(path):
    (path / "x/c/0/0/0").unlink()
    (path / "x/c/0/0/0").symlink_to("/etc/hostname")


def linked_folder(path):
    shutil.move(path / "x", path.with_name("elsewhere"))
    (path / "x").symlink_to(path.with_name("elsewhere"))


def pipe(path):
    os.mkfifo(path / "checkpoint" / "pipe")


def swap(one, other):
    one.rename(one.with_name("swapped"))
    other.rename(one)
    one.with_name("swapped").rename(other)


def into_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def into_link(path, *, is_dangling):
    """A link out of the store, to a file of the user's or to where none is."""
    target = path.parents[path.parent.name == "checkpoint"].parent / "a user's"
    if not is_dangling:
        target.write_text("precious")
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def into_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def cut(path):
    file = path / "x/c/0/0/0"
    file.write_bytes(file.read_bytes()[:-1])


TAMPERED = {
    "no document": lambda path: (path / "zarr.json").unlink(),
    "no JSON": lambda path: (path / "zarr.json").write_text("{"),
    "another JSON": lambda path: (path / "zarr.json").write_text("[]"),
    "deep JSON": lambda path: (path / "zarr.json").write_text("[" * 100_000),
    "huge document": lambda path: (path / "zarr.json").write_text(" " * 2**21),
    "no attributes": edit(lambda root: root.pop("attributes")),
    "another format": edit(lambda root: root["attributes"].update(isotherm_store=3)),
    "a format that is none": edit(lambda root: root["attributes"].update(isotherm_store=True)),
    "no digest": edit(lambda root: root["attributes"].pop("digest"), is_sealed=False),
    "another digest of the files": edit(lambda root: root["attributes"].update(files="0" * 32)),
    "files that are none": edit(lambda root: root["attributes"].update(files=[])),
    "no plan": edit(lambda root: root["attributes"].pop("plan")),
    "a plan that is no text": edit(lambda root: root["attributes"].update(plan=3)),
    "a deep plan": edit(lambda root: root["attributes"].update(plan="[" * 100_000)),
    "an unknown field": in_attribute("plan", colour="red"),
    "more chains": in_attribute("plan", n_samples=6),
    "very many chains": in_attribute("plan", n_samples=2**50),
    "no chains": in_attribute("plan", n_samples=0),
    "chains that are no number": in_attribute("plan", n_samples="5"),
    "another event": in_attribute("plan", event_shape=[3]),
    "very many axes": in_attribute("plan", event_shape=[1] * 100),
    "a large event": in_attribute("plan", event_shape=[2**31]),
    "another dtype": in_attribute("plan", dtype="float64"),
    "an object's dtype": in_attribute("plan", dtype="object"),
    "another version": in_attribute("plan", version=99),
    "a negative step size": in_attribute("plan", step_size={"schedule": -1.0}),
    "a step size that is none": in_attribute("plan", step_size=0.05),
    "a schedule that is not there": in_attribute("plan", step_size={"schedule": None}),
    "a schedule that may not be": in_attribute("plan", seed={"schedule": None}),
    "an array that may not be": in_attribute("plan", thinning={"array": [3]}),
    "a field of an unknown kind": in_attribute("plan", clamp={"pickle": "x"}),
    "a seed that is none": in_attribute("plan", seed=2**64),
    "a backend that is none": in_attribute("plan", backend=3),
    "more steps done than planned": in_attribute("run", n_steps=68),
    "more steps done": in_attribute("run", n_steps=66),
    "steps done that are no number": in_attribute("run", n_steps=1.5),
    "a third state": in_attribute("run", state=2),
    "another chunk": in_attribute("run", chunk=7),
    "a chunk that is none": in_attribute("run", chunk=0),
    "an unknown part of the run": in_attribute("run", colour="red"),
    "a divergence that is none": in_attribute("run", divergence="x"),
    "a divergence at no step": in_attribute("run", divergence=[-5, 1]),
    "a divergence of too many": in_attribute("run", divergence=[5, 6]),
    "numbers that are no text": in_attribute("run", numbers=5),
    "a start that is none": in_attribute("plan", has_start="x"),
    "another id in the run": in_attribute("run", id="x"),
    "a state that is none": in_attribute("run", carried=[]),
    "a state of nothing": in_attribute("run", carried={}),
    "a state elsewhere": in_attribute("run", carried={"../../x": ["float32", [5, 2]]}),
    "a state of objects": in_attribute("run", carried={"x": ["object", [5, 2]]}),
    "a state of other chains": in_attribute("run", carried={"x": ["float32", [6, 2]]}),
    "a state of very many": in_attribute("run", carried={"x": ["float32", [5, 2**60]]}),
    "a momentum that is not there": in_attribute(
        "run", carried={"x": ["float32", [5, 2]], "momentum": ["float32", [5, 2]]}
    ),
    "changed: noise": in_attribute("plan", noise_scale={"schedule": 0.5}, is_sealed=False),
    "changed: clamp": in_attribute("plan", clamp=[-1, 1], is_sealed=False),
    "changed: offset": in_attribute("plan", chain_offset=8, is_sealed=False),
    "changed: thinning": in_attribute("plan", thinning=3.0, is_sealed=False),
    "changed: probe": in_attribute("run", probe=0.5, is_sealed=False),
    "changed: seconds": in_attribute("run", seconds=0.5, is_sealed=False),
    "changed: energy": edit(
        lambda root: root["attributes"].update(energy="Other"), is_sealed=False
    ),
    "no metadata": edit(lambda root: root.pop("consolidated_metadata")),
    "metadata that are none": edit(lambda root: root.update(consolidated_metadata=[1])),
    "an array less": edit(lambda root: root["consolidated_metadata"]["metadata"].pop("x")),
    "another shape": in_metadata("x", "shape", [5, 200, 2]),
    "another codec": in_metadata("x", "codecs", [{"name": "numcodecs.pickle"}]),
    "another place": in_metadata(
        "x", "chunk_key_encoding", {"name": "default", "configuration": {"separator": "../"}}
    ),
    "a link": replaced_by_link,
    "a linked folder": linked_folder,
    "a pipe": pipe,
    "no chunk": lambda path: (path / "x/c/0/0/0").unlink(),
    "half a chunk": cut,
    "no state": lambda path: [file.unlink() for file in path.glob("checkpoint/x_?/c/0/0")],
    "another state": lambda path: swap(*path.glob("checkpoint/x_?/c/0/0")),
    "a folder for a chunk": lambda path: into_folder(path / "x/c/0/0/0"),
    "no lock": lambda path: (path / "checkpoint/lock").unlink(),
}
PLANTED = {
    "link": partial(into_link, is_dangling=False),
    "dangling link": partial(into_link, is_dangling=True),
    "pipe": into_pipe,
    "folder": into_folder,
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_store_that_is_not_sound_is_refused(path, what):
    run(path)
    TAMPERED[what](path)
    for use in (isotherm.open_run, lambda held: isotherm.resume(held, WELL, n_steps=3)):
        if what == "no lock" and use is isotherm.open_run:
            continue  # one may read where one may not write
        with pytest.raises(StoreError, match=r"run\.zarr is not a sound store of a run: ") as error:
            use(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize(
    "name", ["zarr.json.partial", "checkpoint/zarr.json.partial", "checkpoint/lock"]
)
def test_what_was_planted_is_neither_followed_nor_waited_for(path, name, what):
    run(path)
    root = (path / "zarr.json").read_bytes()
    PLANTED[what](path / name)
    with pytest.raises(StoreError, match="is a link, or no plain file"):
        isotherm.resume(path, WELL, n_steps=3)
    assert (path / "zarr.json").read_bytes() == root
    target = path.parent / "a user's"
    assert (target.read_text() if target.exists() else None) == (
        "precious" if what == "link" else None
    )


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_in_mid_run_is_not_followed(path, what):
    planted = []

    def plant(status):
        if not planted:
            PLANTED[what](path / "zarr.json.partial")
        planted.append(status.n_steps)

    if what == "folder":
        with pytest.raises(StoreError, match=r"zarr\.json is a folder, or zarr\.json\.partial"):
            run(path, callback=plant)
        return
    check_same(run(path, callback=plant), run())
    assert not (path / "zarr.json").is_symlink()
    isotherm.open_run(path)


@pytest.mark.parametrize("name", ["x/c/0/0/0", "checkpoint/x_1/c/0/0"])
def test_a_chunk_that_was_changed_is_noticed_when_it_is_read(path, name):
    run(path)
    content = bytearray((path / name).read_bytes())
    content[5] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        np.asarray(isotherm.open_run(path).trajectory)


def test_a_name_that_is_taken_missing_or_none(path):
    run(path)
    with pytest.raises(InputError, match="exists; go on with it"):
        run(path)
    for bad in ("s3://bucket/run.zarr", 3, "", "a\0b", b"bytes"):
        with pytest.raises(InputError, match="store must be the path of a local folder"):
            run(bad)
    with pytest.raises(StoreError, match="there is no folder"):
        isotherm.open_run(path.with_name("nothing"))
    with pytest.raises(StoreError, match="is not a sound store"):
        isotherm.resume(path.parent, WELL)


COV = np.array([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (WELL, isotherm.DoubleWellEnergy(barrier_height=0.5, b=1.0 + 1e-6)),
        (isotherm.GaussianEnergy(np.zeros(2), COV), isotherm.GaussianEnergy([0.0, 1e-9], COV)),
        (
            isotherm.GaussianEnergy(np.zeros(2), COV) + 2.0 * WELL,
            isotherm.GaussianEnergy(np.zeros(2), COV) + (2.0 + 1e-9) * WELL,
        ),
        (
            isotherm.GaussianMixtureEnergy([[0.0, 0.0], [9.0, 9.0]]),
            isotherm.GaussianMixtureEnergy([[0.0, 0.0], [9.0, 8.0]]),  # far from N(0, I)
        ),
    ],
    ids=lambda energy: energy.name,
)
def test_another_energy_is_refused(path, own, other):
    run(path, own, callback=lambda status: status.n_steps >= 20)
    with pytest.raises(InputError, match=r"the energy is not that of .*pass the energy that the"):
        isotherm.resume(path, other)
    check_same(isotherm.resume(path, own), run(energy=own))


def test_the_same_numbers_may_come_in_another_dtype(path):
    run(path, callback=lambda status: status.n_steps >= 20)
    energy = isotherm.DoubleWellEnergy(barrier_height=np.float32(0.5), b=np.ones((), np.float16))
    check_same(isotherm.resume(path, energy), run())


def test_a_store_that_tells_nothing_of_the_numbers_is_compared_at_one_state(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("isotherm._runs.run.numbers_digests", lambda energy: frozenset())
        run(path, callback=lambda status: status.n_steps >= 20)
    with pytest.raises(InputError, match=r"at one state it is .*pass the energy that the run had"):
        isotherm.resume(path, isotherm.DoubleWellEnergy(barrier_height=0.6))
    check_same(isotherm.resume(path, WELL), run())


class Spring:
    """A user's energy, which counts its calls."""

    def __init__(self, k):
        self.k, self.calls = k, 0

    def __call__(self, x):
        self.calls += 1
        return (0.5 * self.k * x * x).sum(1)

    def gradient(self, x):
        self.calls += 1
        return self.k * x


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return (0.5 * self.k * x * x).sum(1)

    def gradient(self, x):
        return self.k * x


class Configured(Spring):
    """Whose number is in a dictionary, as the counts of its calls are."""

    def __init__(self, k):
        self.held, self.calls = {"k": k, "gradients": 0, "mean": 0.0}, 0

    @property
    def k(self):
        self.held["gradients"] += 1
        self.held["mean"] += 0.1
        return self.held["k"]


@cache
def network():
    """The class of a network that normalises, as if in training, and counts."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self, parameter=1.0, buffer=1.0, attribute=1.0, count=1):
            super().__init__()
            self.parameter = torch.nn.Parameter(torch.tensor(parameter))
            self.register_buffer("buffer", torch.tensor(buffer))
            self.attribute, self.inner, self.calls = attribute, torch.nn.Module(), 0
            self.inner.count = count
            self.norm = torch.nn.BatchNorm1d(2)

        def forward(self, x):
            self.calls += 1
            self.norm(x)
            return (self.parameter * self.buffer * self.attribute * self.inner.count * x * x).sum(1)

    return Net


class Score:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return -self.k * x


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Spring, {}),
        (lambda k: Spring(round(10 * k)), {}),
        (lambda k: Spring(np.array([round(10 * k)])), {}),
        (Slotted, {}),
        (Configured, {}),
        (lambda k: isotherm.score(Score(k)), {"return_diagnostics": False}),
        (lambda k: network()(parameter=k), {"backend": "torch"}),
        (lambda k: network()(buffer=k), {"backend": "torch"}),
        (lambda k: network()(attribute=k), {"backend": "torch"}),
        (lambda k: network()(count=round(10 * k)), {"backend": "torch"}),
    ],
    ids=["energy", "integer", "array", "slots", "dictionary", "score",
         "parameter", "buffer", "attribute", "inner"],
)  # fmt: skip
def test_a_user_s_energy_that_changed_is_told(path, make, options, recwarn):
    energy = make(1.0)
    run(path, energy, callback=lambda status: status.n_steps >= 20, **options)
    isotherm.resume(path, make(1.0), n_steps=3)
    isotherm.resume(path, energy, n_steps=3)  # which has counted its calls
    assert not recwarn
    with pytest.warns(isotherm.EnergyWarning, match="the energy holds other numbers"):
        isotherm.resume(path, make(1.1))


def scaled(x, k=1.0):
    return (k * x * x).sum(1)


def test_keywords_that_changed_are_told(path, recwarn):
    pytest.importorskip("isotherm_torch")
    plan = isotherm.make_plan(scaled, **RUN | {"backend": "torch"})
    isotherm.run(plan, scaled, store=path, model_kwargs={"k": 2.0})
    isotherm.resume(path, scaled, n_steps=3, model_kwargs={"k": 2.0})
    assert not recwarn
    for changed in ({"k": 3.0}, None):
        with pytest.warns(isotherm.EnergyWarning, match="the energy holds other numbers"):
            isotherm.resume(path, scaled, n_steps=3, model_kwargs=changed)


def test_a_store_asks_a_users_energy_no_more_often(path):
    """It may take the next batch at each call."""
    counted = []
    for store in (None, path):
        energy = Spring(1.0)
        plan = isotherm.make_plan(energy, **RUN)
        isotherm.run(plan, energy, store=store)
        counted.append(energy.calls)
    assert counted[0] == counted[1]
    energy = Spring(1.0)
    isotherm.resume(path, energy, n_steps=8)
    assert energy.calls <= counted[0]


def test_plans_of_before_there_were_numbers_a_chain_are_read(path):
    run(path)
    in_attribute("plan", version=PLAN_VERSION - 1)(path)
    check_same(isotherm.resume(path, WELL, n_steps=3), run(n_steps=63))
    assert isotherm.open_run(path).info.n_steps == 70


HMC = {"sampler": "hmc", "step_size": 0.3, "n_leapfrog": 3}
FRICTION = {"sampler": "underdamped"}
# Of runs with a schedule: options, what is a schedule, and what follows its first 60 numbers.
SCHEDULES = {
    "leapfrog steps": (HMC, "n_leapfrog", lambda step: 1 + step % 4, 5),
    "friction": (FRICTION, "friction", np.linspace(0.0, 2.0, 60), [0.5] * 6),
    "friction where there was none": (FRICTION | {"friction": 0.0}, "friction", None, 1.5),
    "friction of trajectories": (
        HMC, "friction", np.linspace(0.0, 2.0, 60), lambda step: 0.01 * step
    ),
    "none of trajectories": (HMC, "friction", np.linspace(1.0, 0.0, 60), 0.0),
    "temperature": (HMC, "temperature", lambda step: 1.0 + 0.01 * step, [0.5] * 6),
    "temperature of noise": ({}, "noise_scale", np.linspace(1.0, 0.0, 60), 0.0),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEDULES)
def test_every_schedule_can_follow(path, case):
    options, name, first, follows = SCHEDULES[case]
    options = RUN | options | {"burn_in": 0}
    begun = options if first is None else options | {name: first}
    run(path, callback=lambda status: status.n_steps >= 20, **begun)
    if first is not None:
        held = "noise_scale" if name == "temperature" else name
        with pytest.raises(InputError, match=f"say what follows: {held}="):
            isotherm.resume(path, WELL, n_steps=46)
    result = isotherm.resume(path, WELL, n_steps=46, **{name: follows})
    assert result.info.n_steps == 66

    def number(step):
        held, i = (follows, step - 60) if step >= 60 else (begun[name], step)
        return held(step) if callable(held) else held if np.ndim(held) == 0 else held[i]

    check_same(result, run(**options | {"n_steps": 66, name: number}))


def test_what_does_not_follow(path):
    plain = HMC | {"burn_in": 0}
    run(path, **plain)
    refused = {
        "with friction a step of sampler 'hmc' is another": {"friction": 1.0},
        "n_leapfrog must be a positive integer": {"n_leapfrog": 2.5},
        "noise_scale, or temperature, must be positive at every step": {"temperature": 0.0},
        "give noise_scale or temperature": {"temperature": 1.0, "noise_scale": 1.0},
        "friction must be 0 or positive": {"friction": [-1.0] * 3},
        "which rounds to 0 in float32": {"step_size": 1e-50},
    }
    for message, given in refused.items():
        with pytest.raises(InputError, match=message):
            isotherm.resume(path, WELL, n_steps=3, **given)
    with pytest.raises(isotherm.UnknownArgumentError, match="did you mean n_leapfrog"):
        isotherm.resume(path, WELL, n_steps=3, n_leapfrogs=3)
    with pytest.raises(isotherm.UnknownArgumentError, match="no argument 'stores'"):
        isotherm.run(isotherm.open_run(path), WELL, stores=path)
    check_same(isotherm.resume(path, WELL, n_steps=3), run(**plain, n_steps=63))
    other = path.with_name("other")
    run(other)
    with pytest.raises(InputError, match="sampler 'langevin' takes no n_leapfrog"):
        isotherm.resume(other, WELL, n_steps=3, n_leapfrog=3)


def test_nothing_is_left_to_do(path):
    run(path)
    with pytest.raises(InputError, match="all 67 steps of this run are done; say how many more"):
        isotherm.resume(path, WELL)
    for bad in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="n_steps"):
            isotherm.resume(path, WELL, n_steps=bad)
    other = path.with_name("other")
    run(other, callback=lambda status: True)
    with pytest.raises(InputError, match="beyond those that were planned"):
        isotherm.resume(other, WELL, step_size=0.1)
    with pytest.raises(InputError, match="step_size is 1e-50 at step 68, which rounds to 0"):
        isotherm.resume(path, WELL, n_steps=3, step_size=1e-50)
    with pytest.raises(InputError, match="decay is that of a step_size"):
        isotherm.resume(path, WELL, n_steps=3, decay=0.1)
    with pytest.raises(isotherm.BackendNotFoundError):
        isotherm.resume(path, WELL, n_steps=3, backend="abacus")


def test_without_zarr_it_says_what_to_install(path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("isotherm._store")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(isotherm, "_store")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(isotherm.ExtraNotInstalledError, match=r"pip install 'isotherm\[store\]'"):
        run(path)


LIMITED = """
import resource, sys
import numpy as np
import isotherm

well = isotherm.DoubleWellEnergy(barrier_height=0.5)
options = {
    "dim": 4, "n_samples": 1000, "n_steps": 40_000, "step_size": 0.05, "seed": 3,
    "backend": "numpy", "return_trajectory": True,
}
small = isotherm.sample_chain(well, **options | {"n_steps": 8}, store=sys.argv[1] + ".first")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    isotherm.sample_chain(well, **options)
except isotherm.InputError as error:
    print(error)
options["thinning"] = 1
stop = lambda status: status.n_steps >= 20_000
states = isotherm.sample_chain(well, **options, store=sys.argv[1], callback=stop)
print(states.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_store_holds_more_than_memory_may(path):
    """320 MB of states, in a process that may take 256 MiB more than it has."""
    done = python("-W", "error", "-c", LIMITED, path)
    assert done.returncode == 0, done.stderr
    refusal, size = done.stdout.splitlines()
    assert "the run needs 610" in refusal
    assert "store='run.zarr'" in refusal
    assert int(size) >= 20_000 * 1000 * 4 * 4
