"""Generated modules: compiled once, found again, and never run from what another user wrote."""

import logging
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import isotherm
from isotherm.backend import CompiledCache
from isotherm_numba import CompiledEnergy, codegen_cache

COUNT_COMPILED = """
import isotherm
from isotherm_numba import codegen_cache
loaded = []
load = codegen_cache.load
codegen_cache.load = lambda *args: loaded.append(load(*args)) or loaded[-1]
isotherm.sample_chain(isotherm.HarmonicEnergy(), dim=2, n_samples=5, n_steps=3, backend="numba")
stats = [f.stats for module in loaded for f in vars(module).values() if hasattr(f, "stats")]
hits = sum(sum(stat.cache_hits.values()) for stat in stats)
misses = sum(sum(stat.cache_misses.values()) for stat in stats)
print(hits, misses)
"""


DOUBLE = """
from isotherm_numba.codegen_cache import kept
@kept("float64(float64)")
def double(x):
    return 2.0 * x
"""


def count_compiled(**environment):
    """How many functions a new process finds in the cache, and how many it compiles."""
    command = [sys.executable, "-W", "error", "-c", COUNT_COMPILED]
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    ended = subprocess.run(
        command, text=True, capture_output=True, check=True, env=env | environment
    )
    told = [line for line in ended.stderr.splitlines() if not line.startswith("compiling ")]
    return *map(int, ended.stdout.split()), "\n".join(told)


def test_a_second_process_compiles_nothing_and_one_with_damaged_files_compiles_again(tmp_path):
    tmp_path.chmod(0o777)
    hits, misses, told = count_compiled(NUMBA_CACHE_DIR=str(tmp_path))
    assert (hits, told) == (0, "")
    found = count_compiled(NUMBA_CACHE_DIR=str(tmp_path))
    (folder,) = tmp_path.iterdir()
    # The loop, the energy's two, and normals.
    assert found == (4, 0, "")
    assert misses >= 4
    assert len(list(folder.iterdir())) > 4  # what these call is kept for other kernels, too
    assert folder.stat().st_mode & 0o777 == 0o700
    # The loop, which is the largest, takes as long to compile as the others together.
    *small, _ = sorted(folder.iterdir(), key=lambda file: file.stat().st_size)
    for i, file in enumerate(small):
        file.write_bytes(file.read_bytes()[:-1] if i % 2 else os.urandom(1000))
    hits, misses, told = count_compiled(NUMBA_CACHE_DIR=str(tmp_path))
    assert (hits, told) == (1, "")
    assert misses >= 3
    assert count_compiled(NUMBA_CACHE_DIR=str(tmp_path)) == found


def test_what_another_program_planted_is_not_run(tmp_path, monkeypatch):
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    cache = CompiledCache(tmp_path / "cache", "NUMBA_CACHE_DIR")
    monkeypatch.setattr(codegen_cache, "_compiled", lambda: cache)
    assert codegen_cache.load.__wrapped__("planted", DOUBLE).double(4.0) == 8.0
    (file,) = cache.folder.iterdir()
    file.write_bytes(pickle.dumps(Bomb()))
    assert codegen_cache.load.__wrapped__("planted", DOUBLE).double(4.0) == 8.0
    assert not ran.exists()


def test_kernels_are_kept_apart_by_every_source_that_flows_in(tmp_path, monkeypatch):
    cache = CompiledCache(tmp_path / "cache", "NUMBA_CACHE_DIR")
    monkeypatch.setattr(codegen_cache, "_compiled", lambda: cache)
    codegen_cache.load.__wrapped__("first", DOUBLE)
    monkeypatch.setattr(codegen_cache, "_sources", lambda: "other coefficients of the noise")
    codegen_cache.load.__wrapped__("first", DOUBLE)
    assert len(list(cache.folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path):
    blocked = tmp_path / "file"  # which refuses root as well
    blocked.write_text("not a folder")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    hits, misses, told = count_compiled(
        TMPDIR=str(temporary), HOME=str(blocked), XDG_CACHE_HOME=str(blocked)
    )
    assert hits == 0 < misses
    assert f"it cannot be kept in {blocked}" in told
    assert "set NUMBA_CACHE_DIR to a folder" in told
    assert not list(temporary.iterdir())


def test_a_module_that_fails_is_not_left_half_made():
    before = set(sys.modules)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            codegen_cache.load("broken", "1 / 0")
    assert set(sys.modules) == before


def test_a_long_compilation_is_announced(limits, caplog):
    limits(patience=0.01)
    with caplog.at_level(logging.WARNING):
        codegen_cache.build("slow", "import time; time.sleep(0.2)", ())
    assert "compiling slow;" in caplog.text


COUNT_SHARED = """
import isotherm
from isotherm_numba import sums, tiles
from isotherm_numba.noise import philox
isotherm.sample_chain(
    isotherm.HarmonicEnergy(), sampler="{sampler}", dim=2, n_samples=5, n_steps=3, step_size=0.1,
    backend="numba", return_trajectory=True, return_diagnostics=True,
)
shared = tiles.load, tiles.store, sums.add_chains, sums.totals, philox
print(sum(sum(one.stats.cache_misses.values()) for one in shared))
"""


def test_what_kernels_call_is_compiled_for_the_first_of_them_alone(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    missed = []
    for sampler in ("langevin", "hmc"):
        program = COUNT_SHARED.format(sampler=sampler)
        command = [sys.executable, "-W", "error", "-c", program]
        ended = subprocess.run(command, text=True, capture_output=True, check=True, env=env)
        missed.append(int(ended.stdout))
    assert missed[0] >= 5
    assert missed[1] == 0


WITHOUT_COMPILING = """
import isotherm
from tests.numba.test_cache import huber
options = {"dim": 2, "n_samples": 5, "n_steps": 3, "seed": 0}
for energy in (isotherm.HarmonicEnergy(), huber()):
    plan = isotherm.make_plan(energy, **options)
    print(plan.backend, isotherm.run(plan, energy).samples.tobytes().hex())
try:
    isotherm.make_plan(energy, **options, backend="numba")
except isotherm.BackendError as error:
    print(error)
"""


def huber():
    def energy(x):
        return np.abs(x).sum()

    def gradient(x, out):
        out[:] = np.sign(x)

    return CompiledEnergy(energy, gradient)


def test_where_numba_compiles_nothing_numpy_takes_its_place():
    told = subprocess.check_output(
        [sys.executable, "-W", "error", "-c", WITHOUT_COMPILING],
        text=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    ).splitlines()
    options = {"dim": 2, "n_samples": 5, "n_steps": 3, "seed": 0}
    for line, energy in zip(told, (isotherm.HarmonicEnergy(), huber()), strict=False):
        here = isotherm.sample_chain(energy, **options, backend="numpy").tobytes().hex()
        assert line == f"numpy {here}"
    assert told[2].endswith("cannot be used here: NUMBA_DISABLE_JIT is set; unset it")


def test_ctrl_c_is_held_back_until_a_function_is_compiled():
    # Numba that is interrupted in the middle of its work may fail for ever after.
    done = []

    def compile_two():
        with codegen_cache.uninterrupted():
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                done.append(True)

    with pytest.raises(KeyboardInterrupt):
        compile_two()
    assert done == [True, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
