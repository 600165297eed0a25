"""Stores that were moved, copied, swapped, damaged or shared: they tell nothing untrue."""

import json
import random
import shutil
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

import isotherm
from isotherm import InputError, StoreError
from isotherm._planning import extend_plan
from isotherm._plans.plan import Schedule
from isotherm._store import create, folder, plan_fields
from tests.long_runs.kills import RUN_OF_FORMAT_1
from tests.long_runs.test_store import RUN, WELL, check_same, each_piece, path, run, small_pieces

__all__ = ["each_piece", "path", "small_pieces"]

same = np.testing.assert_array_equal


@pytest.fixture
def small_chunks(limits):
    """Chunks of 4 draws, of which the last is begun."""
    limits(least_chunk_bytes=0, chunk_bytes=6 * 5 * 8)


def everything(result):
    """The values of all that a result holds."""
    found = result.diagnostics
    arrays = (result.samples, result.trajectory, found.mean, found.variance, found.energy)
    return [result.info.n_steps, found.steps.tobytes()] + [
        np.asarray(array).tobytes() for array in arrays
    ]


# --- a folder that is not the one that is locked -------------------------------------------------


def change_once(path, change, at=20):
    """A callback that does something to the folder in mid-run."""
    done = []

    def callback(status):
        if status.n_steps >= at and not done:
            done.append(status.n_steps)
            change(path)

    return callback


def remove(path):
    """At once: the run may be writing."""
    path.rename(path.with_name("removed"))
    shutil.rmtree(path.with_name("removed"), ignore_errors=True)


@pytest.mark.parametrize("when", ["each_piece", "small_chunks"])
def test_a_run_does_not_write_into_another_store_of_its_name(path, when, request):
    def restart(path):
        remove(path)
        run(path, seed=4)

    request.getfixturevalue(when)
    with pytest.raises(StoreError, match=r"run\.zarr is no longer the store that this run writes"):
        run(path, callback=change_once(path, restart))
    check_same(isotherm.open_run(path), run(seed=4))


def test_a_run_does_not_write_into_a_copy_of_its_store(path):
    def copy(path):
        shutil.copytree(path, path.with_name("copy"))
        remove(path)
        path.with_name("copy").rename(path)

    with pytest.raises(StoreError, match="is no longer the store that this run writes"):
        run(path, callback=change_once(path, copy))
    check_same(isotherm.resume(path, WELL), run())


@pytest.mark.usefixtures("each_piece")
def test_a_run_whose_store_was_moved_says_so_and_makes_no_folder(path):
    elsewhere = path.with_name("elsewhere")
    with pytest.raises(StoreError, match="it was moved, removed or made anew"):
        run(path, callback=change_once(path, lambda path: path.rename(elsewhere)))
    assert not path.exists()
    check_same(isotherm.resume(elsewhere, WELL), run())
    parent = path.parent / "parent"
    with pytest.raises(StoreError, match="is no longer the store"):
        run(parent / "run", callback=change_once(parent, remove))
    assert not parent.exists()


def test_another_error_comes_first(path):
    def callback(status):
        remove(path)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(path, callback=callback)


def test_the_root_is_the_one_that_was_written_last(path):
    """A backup that was put back in place, file by file, has the same folder and lock."""
    kept = []

    def callback(status):
        if status.n_steps == 20:
            kept.append((path / "zarr.json").read_bytes())
        if status.n_steps >= 40:
            (path / "zarr.json").write_bytes(kept[0])

    plan = isotherm.make_plan(WELL, **RUN)
    with pytest.raises(StoreError, match="is no longer the store"):
        isotherm.run(plan, WELL, store=path, callback=callback, flush_every=0.0)


def test_what_was_opened_is_not_read_from_another_run(path):
    run(path)
    held = isotherm.open_run(path)
    shutil.rmtree(path)
    run(path, seed=4)
    with pytest.raises(StoreError, match="holds another run by now; open it again"):
        np.asarray(held.trajectory)
    shutil.rmtree(path)
    with pytest.raises(StoreError):
        np.asarray(held.diagnostics.energy)


# --- beside a writer, and copies of what is written to -------------------------------------------


@pytest.mark.usefixtures("each_piece", "small_chunks")
def test_a_reader_beside_a_writer_sees_one_commit(path):
    steps = 160
    whole = run(n_steps=steps, thinning=1, burn_in=0)
    seen, failed, stop = [], [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                if path.exists():
                    part = isotherm.open_run(path)
                    seen.append((part.info.n_steps, part.samples, np.asarray(part.trajectory)))
            except BaseException as error:
                failed.append(error)
                raise

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    run(path, n_steps=steps, thinning=1, burn_in=0)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failed
    assert seen
    for n_steps, samples, trajectory in seen:
        same(trajectory, whole.trajectory[:, :n_steps])
        if n_steps:
            same(samples, trajectory[:, -1])


@pytest.mark.usefixtures("each_piece", "small_chunks")
def test_a_run_that_goes_on_while_states_are_read(path, monkeypatch):
    whole, read = run(n_steps=24, thinning=1, burn_in=0), folder.Store._values
    run(path, n_steps=20, thinning=1, burn_in=0)
    first, later = path.with_name("first"), [path]
    shutil.copytree(path, first)

    def turn(store):
        return folder.Store(store).snapshot()[0].state

    def read_late(store, header, name, region=...):
        if later and name in header.states(header.state).values():
            shutil.copytree(later.pop(), first, dirs_exist_ok=True)
        return read(store, header, name, region)

    while isotherm.resume(path, WELL, n_steps=1).info.n_steps < 24 or turn(path) != turn(first):
        pass  # until its states lie where those of the first did
    monkeypatch.setattr(folder.Store, "_values", read_late)
    part = isotherm.open_run(first)
    assert not later
    same(part.samples, np.asarray(part.trajectory)[:, -1])
    same(part.trajectory[:, :24], whole.trajectory)


@pytest.mark.usefixtures("each_piece", "small_chunks")
@pytest.mark.parametrize("first", ["root", "files"])
def test_a_copy_of_a_store_that_is_written_to(path, first):
    """The root and the other files are of commits that are some steps apart, in either order."""
    whole, copies = run(thinning=1), []

    def callback(status):
        if status.n_steps in (20, 24, 28, 32):
            held = isotherm.open_run(path)  # once a commit is on the disk
            copies.append((held.info.n_steps, path.with_name(f"copy {status.n_steps}")))
            shutil.copytree(path, copies[-1][1])

    run(path, thinning=1, callback=callback)
    accepted = 0
    for n_root, root in copies:
        for n_files, files in copies:
            if (n_root < n_files) != (first == "root"):
                continue
            mixed = path.with_name("mixed")
            shutil.copytree(files, mixed)
            shutil.copy(root / "zarr.json", mixed / "zarr.json")
            try:
                opened = isotherm.open_run(mixed)
            except StoreError:
                pass
            else:
                accepted += n_root != n_files
                assert opened.info.n_steps == n_root
                same(opened.trajectory, whole.trajectory[:, : n_root - 7])
                same(opened.samples, whole.trajectory[:, n_root - 8])
                check_same(isotherm.resume(mixed, WELL), whole)
            shutil.rmtree(mixed)
    assert accepted == 0 or first == "root"


# --- what was changed, swapped or damaged --------------------------------------------------------


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x/c/0/0/0", "x/c/0/1/0"),
        ("diagnostics/mean/c/1/0", "diagnostics/mean/c/2/0"),
        ("diagnostics/mean/c/1/0", "diagnostics/variance/c/1/0"),
        ("x/c/0/3/0", "x/c/0/1/0"),
        ("checkpoint/x_0/c/0/0", "checkpoint/x_1/c/0/0"),
        ("draw/c/0", "step/c/0"),
        ("checkpoint/noise_scale/c/0", "checkpoint/step_size/c/0"),
    ],
)
def test_files_that_were_swapped_are_noticed(path, one, other):
    schedule = np.linspace(0.01, 0.05, 67)
    options = {"step_size": schedule, "noise_scale": schedule[::-1]}
    run(path, **options, callback=lambda status: status.n_steps >= 50)
    first, second = ((path / name).read_bytes() for name in (one, other))
    (path / one).write_bytes(second)
    (path / other).write_bytes(first)
    for use in (isotherm.open_run, lambda path: isotherm.resume(path, WELL)):
        with pytest.raises(StoreError, match="its files do not belong together"):
            use(path)


@pytest.mark.usefixtures("small_chunks")
def test_no_bit_is_flipped_in_silence(path):
    """One random bit of a random file at a time; a flip is found, or it changes nothing."""
    options = {"step_size": np.linspace(0.01, 0.05, 67)}
    run(path, **options, callback=lambda status: status.n_steps >= 50)
    whole = everything(isotherm.open_run(path))
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    draw, found = random.Random(0), 0
    for attempt in range(300):
        # Every other in the root, which decides most.
        file = path / "zarr.json" if attempt % 2 else draw.choice(files)
        content = file.read_bytes()
        position, bit = draw.randrange(len(content)), draw.randrange(8)
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        file.write_bytes(flipped)
        try:
            assert everything(isotherm.open_run(path)) == whole, (file, position, bit)
        except StoreError:
            found += 1
        file.write_bytes(content)
    assert everything(isotherm.open_run(path)) == whole
    assert found > 200


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", ["x/c/0/1/0", "diagnostics/energy/c/0/0"])
def test_a_chunk_that_is_damaged_or_missing_is_named_when_it_is_read(path, name):
    run(path)
    held = isotherm.open_run(path)
    content = bytearray((path / name).read_bytes())
    content[5] ^= 1
    for damage in (lambda: (path / name).write_bytes(content), (path / name).unlink):
        damage()
        with pytest.raises(StoreError, match=rf"run\.zarr is not a sound store .*: {name} "):
            everything(held)


# --- what is the user's --------------------------------------------------------------------------


def test_only_our_own_leftovers_are_removed(path):
    run(path)
    theirs = {"NOTES.md", "figures/a.png", "x/c/notes.txt", "x.partial", "checkpoint/best.npy"}
    ours = {"x/c/0/1/0", "x/c/0/0/0.partial", "zarr.json.partial", "x/zarr.json.partial"}
    ours |= {"checkpoint/step_size/c/0", "checkpoint/state_0/c/0/0", "checkpoint/x_1/c/0/0.partial"}
    for name in theirs | ours:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("whatever")
    (path / "latest").symlink_to("figures")
    other = run(path / "second.zarr")
    (path / "second.zarr" / "x/c/0/1").mkdir()
    (path / "second.zarr" / "x/c/0/1/0").write_text("whatever")
    isotherm.resume(path, WELL, n_steps=3)
    assert all((path / name).read_text() == "whatever" for name in theirs)
    assert not any((path / name).exists() for name in ours)
    assert (path / "latest").is_symlink()
    assert (path / "second.zarr" / "x/c/0/1/0").exists()
    check_same(isotherm.open_run(path / "second.zarr"), other)


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
@pytest.mark.filterwarnings("ignore:Object at lock:UserWarning")  # of ours, met on the way
def test_attributes_that_a_user_added_stay(path):
    run(path, callback=lambda status: status.n_steps >= 30)
    zarr.open_group(path, mode="r+").attrs["note"] = "mine"
    zarr.open_array(path / "x", mode="r+").attrs["units"] = "nm"
    zarr.consolidate_metadata(path)
    whole = isotherm.resume(path, WELL)
    check_same(whole, run())
    with xarray.open_zarr(path, chunks=None) as read:
        assert read.attrs["note"] == "mine"
        assert read.x.attrs["units"] == "nm"
    assert zarr.open_array(path / "x", mode="r").attrs["units"] == "nm"
    assert zarr.open_array(path / "x", mode="r").shape == whole.trajectory.shape


@pytest.mark.filterwarnings("ignore:5 of 5 chains:isotherm.DivergenceWarning")
def test_how_chains_diverged_is_kept(path):
    @isotherm.formula
    def barrier(x):
        return x + 1e-6 * np.log(x)

    options = {"backend": "numpy", "step_size": 0.9}
    whole = run(energy=barrier(), x=np.ones((5, 2)), **options).info.divergence
    stored = run(path, barrier(), np.ones((5, 2)), **options).info.divergence
    assert whole.of_energy
    assert stored == isotherm.open_run(path).info.divergence == whole


# --- what a plan may be, a store can hold --------------------------------------------------------


@pytest.mark.parametrize(
    "name", [7, None, ["a"], "long " * 500_000, "two\nlines", "\ud800", "\0", "µ ∇U", property()]
)
def test_names_of_energies(path, name):
    class Energy:
        def __call__(self, x):
            return 0.5 * (x * x).sum(axis=1)

        def gradient(self, x):
            return x

    energy = Energy()
    energy.name = name
    plan = isotherm.make_plan(energy, **RUN)
    assert len(plan.energy) < 200
    assert plan.energy.isprintable()
    isotherm.run(plan, energy, store=path)
    check_same(isotherm.open_run(path), isotherm.run(plan, energy))
    isotherm.resume(path, energy, n_steps=2)


def test_a_step_size_that_decays_to_nothing_is_no_plan():
    options = RUN | {"n_steps": 100_000, "step_size": 0.1}
    with pytest.raises(InputError, match=r"step_size is 0\.0 at step 100007, which rounds"):
        isotherm.make_plan(WELL, **options, decay=0.01)


def test_states_of_very_many_axes(path):
    for axes in (60, 61):
        dim = (2, *(1,) * (axes - 1))
        if axes > 60:
            with pytest.raises(InputError, match="61 axes; it may have 60 at most"):
                run(dim=dim, energy=isotherm.HarmonicEnergy())
        else:
            whole = run(path, isotherm.HarmonicEnergy(), dim=dim)
            assert isotherm.open_run(path).trajectory.shape == whole.trajectory.shape


def test_a_plan_that_was_made_by_hand_is_looked_at(path):
    plan = replace(isotherm.make_plan(WELL, **RUN), thinning=0.5)
    with pytest.raises(InputError, match="thinning"):
        create(path, plan, None, "by hand", {"x": np.zeros((5, 2), dtype=np.float32)})
    assert not list(path.parent.iterdir())


def test_plans_of_any_fields(monkeypatch):
    """New fields of a plan need no word in the store."""
    plan = isotherm.make_plan(WELL, **RUN)
    object.__setattr__(plan, "clamp", ((1.5, None), "word", True))
    object.__setattr__(plan, "noise_scale", Schedule(np.linspace(0, 1, 67)))
    object.__setattr__(plan, "chain_offset", np.array([[2.0, 0.5], [0.5, 1 / 3]]))
    document = json.loads(json.dumps(plan_fields.plan_to_json(plan)))
    read, scheduled = plan_fields.plan_from_json(document)
    assert scheduled == {"noise_scale": "step"}
    decaying = isotherm.make_plan(WELL, **RUN, decay=0.01, step_offset=5)
    document = json.loads(json.dumps(plan_fields.plan_to_json(decaying)))
    assert plan_fields.plan_from_json(document)[0].step_size == decaying.step_size
    document["noise_scale"] = {"decaying": [1.0, 0.1, 0, 2**50]}
    with pytest.raises(ValueError, match="noise_scale does not decay"):
        plan_fields.plan_from_json(document)
    document = json.loads(json.dumps(plan_fields.plan_to_json(plan)))
    assert read.clamp == plan.clamp
    assert read.step_size == plan.step_size
    same(read.chain_offset, plan.chain_offset)
    del document["version"]
    assert plan_fields.plan_from_json(document)[0].version == 1


def test_a_state_of_several_arrays(path):
    plan = isotherm.make_plan(WELL, **RUN)
    rng = np.random.default_rng(0)
    state = {
        "x": rng.standard_normal((5, 2)).astype(np.float32),
        "momentum": rng.standard_normal((5, 2)),
        "friction": rng.standard_normal(5),
        "accepted": np.arange(5, dtype=np.uint64),
        "is_alive": np.arange(5) % 2 == 0,
    }
    store, header = create(path, plan, None, "by hand", state)
    with store.locked():
        for step in (4, 8, 12):
            state = {name: array[::-1].copy() for name, array in state.items()}
            since, header = header, replace(header, n_steps=step, state=1 - header.state)
            store.write_state(header, state)
            for name in ("x", "diagnostics/mean", "diagnostics/variance"):
                draws = header.n_kept - since.n_kept
                shape = (5, draws, 2) if name == "x" else (draws, 2)
                store.write(header, name, since.n_kept, np.zeros(shape, dtype=np.float32))
            energies = np.zeros((5, draws), dtype=np.float32)
            store.write(header, "diagnostics/energy", since.n_kept, energies)
            for name in ("draw", "step"):
                store.write(header, name, since.n_kept, np.zeros(draws, dtype=np.int64))
            store.commit(header, since)
            read_header, read = folder.Store(path).snapshot()
            assert read_header.n_steps == step
            assert read.keys() == state.keys()
            for name, array in state.items():
                same(read[name], array)
                assert read[name].dtype == array.dtype


SAMPLERS = {
    "underdamped": {"sampler": "underdamped", "friction": 0.5, "inverse_mass": [0.5, 2.0]},
    "scheduled": {"sampler": "underdamped", "friction": list(np.linspace(0.1, 1.0, 67))},
    "mala": {"sampler": "mala", "inverse_mass": [[1.0, 0.3], [0.3, 1.0]]},
    "hmc": {"sampler": "hmc", "n_leapfrog": 3, "jitter": 0.5, "friction": 0.3},
}


@pytest.mark.usefixtures("each_piece", "small_chunks")
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_all_that_a_sampler_carries_is_kept(path, name, dtype):
    options = SAMPLERS[name] | {"dtype": dtype}
    whole = run(**options)
    run(path, **options, callback=lambda status: status.n_steps >= 30)
    resumed = isotherm.resume(path, WELL)
    opened = isotherm.open_run(path)
    for result in (resumed, opened):
        check_same(result, whole)
        assert result.info.sampler == options["sampler"]
        assert result.state.keys() == whole.state.keys()
        for held in whole.state:
            same(result.state[held], whole.state[held])
            assert result.state[held].dtype == whole.state[held].dtype
        assert result.samples.dtype == whole.samples.dtype
        if whole.diagnostics.energy_error is not None:
            same(result.diagnostics.energy_error, whole.diagnostics.energy_error)
            same(result.diagnostics.diverging, whole.diagnostics.diverging)


def test_a_state_that_the_sampler_does_not_have(path):
    plan = isotherm.make_plan(WELL, **RUN | {"sampler": "underdamped"})
    x = np.zeros((5, 2), dtype=np.float32)
    create(path, plan, None, "by hand", {"x": x})
    with pytest.raises(StoreError, match="'underdamped' needs x, momentum to go on"):
        isotherm.resume(path, WELL)


@pytest.mark.parametrize("name", ["stream_version", "arithmetic_version"])
def test_another_version_of_what_makes_the_numbers_is_read_and_not_gone_on_with(
    path, name, monkeypatch
):
    whole = run(path)
    monkeypatch.setattr(extend_plan, name.upper(), 2)
    check_same(isotherm.open_run(path), whole)
    with pytest.raises(InputError, match=f"the run has {name} 1 and this release of isotherm has"):
        isotherm.resume(path, WELL, n_steps=3)


# --- names and times -----------------------------------------------------------------------------


def test_the_users_home_and_long_names(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    run("~/run.zarr")
    assert path.is_dir()
    isotherm.resume("~/run.zarr", WELL, n_steps=3)
    assert isotherm.open_run(Path("~") / "run.zarr").info.n_steps == 70
    with pytest.raises(InputError, match="store is '~nobody-of-this-name/run'"):
        run("~nobody-of-this-name/run")
    long = path.with_name("n" * 250)
    check_same(run(long), run())
    use = (run, isotherm.open_run, lambda held: isotherm.resume(held, WELL))
    for call in use:
        with pytest.raises(InputError, match="cannot be a store: File name too long; name another"):
            call(path.with_name("n" * 300))
        with pytest.raises(InputError, match=r"store is .*ud800.*which holds what no name of a"):
            call(path.with_name("\ud800"))
    (path.parent / "file").touch()
    with pytest.raises(InputError, match="cannot be made: Not a directory"):
        run(path.parent / "file" / "run")
    with pytest.raises(InputError, match="cannot be made, as it names no new folder"):
        run(path.parent / "new" / "..")
    assert not (path.parent / "new").exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_where_no_folder_can_be_made():
    with pytest.raises(InputError, match=r"/proc/self/run cannot be made: .*; name another"):
        run("/proc/self/run")


def test_a_store_is_flushed_every_few_seconds(path):
    plan = isotherm.make_plan(WELL, **RUN)
    steps = []  # that the store held when chains had come further

    def callback(status):
        steps.append(isotherm.open_run(path).info.n_steps)

    isotherm.run(plan, WELL, store=path, callback=callback, flush_every=float("inf"))
    assert not any(steps)
    with pytest.raises(InputError, match="exists"):
        isotherm.run(plan, WELL, store=path, flush_every=0)
    shutil.rmtree(path)

    def wait(status):
        """Chunks are written beside the chains: the first one is there before they go on."""
        deadline = time.monotonic() + 60.0
        while not isotherm.open_run(path).info.n_steps:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    isotherm.run(plan, WELL, store=path, callback=wait, flush_every=0)
    isotherm.resume(path, WELL, n_steps=5, flush_every=float("inf"))
    sampled = path.with_name("sampled")
    isotherm.sample_chain(WELL, **RUN, store=sampled, flush_every=np.float32(0.5))
    for bad in (-1, "1", None, True, float("nan"), [1.0]):
        with pytest.raises(InputError, match="flush_every must be a number of seconds"):
            isotherm.run(plan, WELL, store=path.with_name("bad"), flush_every=bad)
        with pytest.raises(InputError, match="flush_every must be a number of seconds"):
            isotherm.resume(path, WELL, n_steps=3, flush_every=bad)


# --- format 1 ------------------------------------------------------------------------------------


@pytest.fixture
def of_format_1(tmp_path, limits):
    """A store of format 1, ended after 47 of 67 steps; its chunks are of 4 draws."""
    limits(chunk_bytes=240)
    with zipfile.ZipFile(Path(__file__).with_name("format_1.zip")) as packed:
        packed.extractall(tmp_path)
    return tmp_path / "format_1.zarr"


def test_format_1_is_read_and_gone_on_with(of_format_1):
    whole = isotherm.run(isotherm.make_plan(WELL, **RUN_OF_FORMAT_1), WELL)
    part = isotherm.open_run(of_format_1)
    assert part.info.n_steps == 47
    same(part.trajectory, whole.trajectory[:, :13])
    same(part.diagnostics.energy, whole.diagnostics.energy[:13])
    check_same(isotherm.resume(of_format_1, WELL), whole)
    same(part.trajectory, whole.trajectory[:, :13])
    check_same(isotherm.open_run(of_format_1), whole)
    attributes = json.loads((of_format_1 / "zarr.json").read_text())["attributes"]
    assert attributes["isotherm_store"] == 2
    assert list(json.loads(attributes["run"])["carried"]) == ["x"]
