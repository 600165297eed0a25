"""The session on a card: its control flow, and its parts with a stand-in for the card."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests import backends

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="groups of processes are POSIX")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    return gpu


def program(gpu, name, text, seconds=60.0, log="parts.log"):
    return gpu.Part(name, seconds, (sys.executable, "-c", text), log)


def add(name):
    """The beginning of a program that notes something."""
    line = json.dumps({"name": name}) + "\n"
    return (
        f"import os; file = open(os.environ['RECORDS'], 'a'); file.write({line!r}); file.flush(); "
    )


def test_each_part_ends_by_itself_and_what_it_found_is_kept(gpu, tmp_path, capsys):
    sleeper = tmp_path / "child"
    hang = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import "
        f"time; time.sleep(60)']); open({str(sleeper)!r}, 'w').write(str(child.pid)); "
        'file.write(\'{"name": "not who\'); file.flush(); time.sleep(60)'
    )
    parts = (
        program(gpu, "good", add("one") + add("two") + "print('said')"),
        program(gpu, "bad", add("three") + "raise SystemExit(1)"),
        program(gpu, "crashes", add("four") + "os.kill(os.getpid(), 11)"),
        program(gpu, "hangs", add("five") + hang, 3.0),
        gpu.Part("missing", 9.0, ("no-such-program",)),
        program(gpu, "last", add("six")),
    )
    began = time.monotonic()
    assert not gpu.session(parts, tmp_path / "out", 60.0, {"commit": "c0ffee"}, PYTHONPATH="")
    assert time.monotonic() - began < 30
    whole = json.loads((tmp_path / "out" / "gpu.json").read_text("utf-8"))
    assert whole["commit"] == "c0ffee"
    assert [part["ended"] for part in whole["parts"]] == [
        "well", "failed: status 1", "crashed: SIGSEGV", "cut off after 3 s",
        "missing: no-such-program", "well",
    ]  # fmt: skip
    found = [[record["name"] for record in part["records"]] for part in whole["parts"][:4]]
    assert found == [["one", "two"], ["three"], ["four"], ["five"]]
    log = (tmp_path / "out" / "parts.log").read_text("utf-8")
    assert "=== good\nsaid\n" in log
    # What a part that is cut off has started ends with it.
    pid = int(sleeper.read_text())
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        raise AssertionError("the part's child runs on")


def test_nothing_is_begun_without_time_for_it(gpu, tmp_path):
    parts = (program(gpu, "long", "import time; time.sleep(60)"), program(gpu, "late", "pass"))
    assert not gpu.session(parts, tmp_path, 2.0, {})
    whole = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert [part["ended"] for part in whole["parts"]] == [
        "cut off after 2 s", "not begun: no time was left"
    ]  # fmt: skip


def test_tests_are_counted_also_where_they_are_cut_off(gpu, tmp_path):
    text = (
        "print('tests/a.py::one PASSED [ 10%]'); print('tests/a.py::two[x-y] FAILED [ 20%]'); "
        "print('tests/a.py::three SKIPPED (no) [ 30%]', flush=True); import time; time.sleep(60)"
    )
    gpu.session((program(gpu, "tests: a", text, 3.0, "tests.log"),), tmp_path, 60.0, {})
    (part,) = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert part["ended"] == "cut off after 3 s"
    assert part["tests"] == {"PASSED": 1, "FAILED": 1, "SKIPPED": 1}
    assert part["bad"] == ["tests/a.py::two[x-y]"]


def test_a_session_that_is_ended_keeps_what_it_has(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import gpu; "
        "gpu.PARTS = (gpu.Part('slow', 60.0, (sys.executable, '-c', "
        f"{add('one') + 'import time; time.sleep(60)'!r})), gpu.Part('next', 60.0, ('true',))); "
        f"sys.argv = ['gpu.py', '--out', {str(tmp_path)!r}]; gpu.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "records.jsonl").exists():
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 1
    (part,) = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert part["ended"] == "interrupted"
    assert part["records"] == [{"name": "one"}]


def test_it_fits_in_ten_minutes_and_names_what_there_is(gpu):
    first = [part.seconds for part in gpu.PARTS[:-2]]
    assert sum(first) < 570
    root = BENCHMARKS.parent
    for part in gpu.PARTS:
        for word in part.command:
            if word.startswith("tests/"):
                assert (root / word).exists(), word


def test_wheels_are_used_without_being_installed(gpu, tmp_path):
    with zipfile.ZipFile(tmp_path / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "VALUE = 7")
    folder = gpu.unpacked(tmp_path, str(tmp_path / "site"))
    part = program(gpu, "carried", "import carried; assert carried.VALUE == 7")
    assert gpu.session((part,), tmp_path / "out", 60.0, {}, PYTHONPATH=folder)
    with pytest.raises(SystemExit, match="there are no wheels"):
        gpu.unpacked(tmp_path / "site", "nowhere")


needs_cupy = pytest.mark.skipif("cupy" not in backends.names(), reason="the parts are CuPy's")


@pytest.fixture
def card(monkeypatch):
    """The CUDA source on the host, in the card's place."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_parts

    from tests.cupy.host import HostBackend

    def kernel_seconds(work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return gpu_parts.Card(HostBackend.name, "cpu", np, lambda: None, kernel_seconds)


def found(part, card, tmp_path, **options):
    import gpu_parts

    records = gpu_parts.Records(tmp_path / "records.jsonl")
    getattr(gpu_parts, part)(*([card] if card else []), records, **options)
    lines = (tmp_path / "records.jsonl").read_text("utf-8").splitlines()
    return records, {record.pop("name"): record for record in map(json.loads, lines)}


@needs_cupy
def test_every_kind_of_kernel_is_held_to_the_reference(card, tmp_path, monkeypatch):
    import gpu_parts

    # Each takes a while to build.
    monkeypatch.setattr(gpu_parts, "ARRAYS", gpu_parts.ARRAYS[1:3])
    records, lines = found("tiny", card, tmp_path)
    assert records.n_bad == 0, lines
    n_tiny = len(lines)
    assert n_tiny == len(gpu_parts.KINDS) + 1  # CUDA functions are for cards alone
    some = {name: gpu_parts.OPTIONS[name] for name in ("kept", "bounds, clip", "malt")}
    monkeypatch.setattr(gpu_parts, "OPTIONS", some)
    monkeypatch.setattr(gpu_parts, "KINDS", gpu_parts.KINDS[::6])
    records, lines = found("kernels", card, tmp_path)
    assert records.n_bad == 0, [line for line in lines.values() if not line["ok"]]
    assert len(lines) == 2 * 2 * len(some) + 2 + n_tiny


@needs_cupy
def test_loops_over_arrays_are_held_to_the_reference(card, tmp_path, monkeypatch):
    import gpu_parts

    monkeypatch.setattr(gpu_parts, "ARRAYS", gpu_parts.ARRAYS[:3:2])
    monkeypatch.setattr(gpu_parts, "PLAIN", gpu_parts.PLAIN | {"n_samples": 33})
    records, lines = found("arrays", card, tmp_path)
    assert records.n_bad == 0, [line for line in lines.values() if not line["ok"]]
    assert {"lattice, float64, mala", "logistic, float64, underdamped"} < set(lines)


@needs_cupy
def test_a_difference_is_noted_and_stops_nothing(card, tmp_path, monkeypatch):
    import gpu_parts

    import isotherm

    kinds = [list(kind) for kind in gpu_parts.KINDS[:2]]
    monkeypatch.setattr(gpu_parts, "OPTIONS", {"plain": {}})
    kinds[0][2] = isotherm.DoubleWellEnergy(barrier_height=2.1)
    monkeypatch.setattr(gpu_parts, "KINDS", kinds)
    records, lines = found("kernels", card, tmp_path)
    assert records.n_bad == 2
    assert "AssertionError" in lines["elementwise, float32, plain"]["error"]
    assert lines["whole state, float64, plain"]["ok"]


@needs_cupy
@pytest.mark.parametrize("part", ["times", "peers"])
def test_times_are_taken(card, tmp_path, part, monkeypatch):
    monkeypatch.setattr("gpu_parts.find_spec", lambda name: None)
    records, lines = found(part, card, tmp_path, rounds=2, n_samples=8, n_steps=6)
    if part == "times":
        assert lines["10-D Gaussian, 10,000 x 500"]["kernel"]["median"] > 0
    else:
        assert lines["10-D Gaussian, 10,000 x 500: by hand"]["call"]["best"] > 0
    assert records.n_bad == 0, lines


@pytest.mark.skipif("torch" not in backends.names(), reason="it is of torch's modules")
@needs_cupy
def test_a_modules_steps_are_timed(card):
    import gpu_parts

    times = gpu_parts.module_times(card, 8, 2, n_samples=4, n_steps=5)
    assert times["microseconds a step, watched"]["median"] > 0
    assert times["path"].startswith("array loop, autograd")


@needs_cupy
def test_without_a_card_the_versions_are_told_and_the_rest_says_why(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--out", tmp_path, "--commit", "abc"]
    command += ["--only", "versions", "kernels"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    whole = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    names = {record["name"] for record in whole["parts"][0]["records"]}
    assert {"python", "cupy-cuda12x", "backend cupy"} <= names
    assert whole["commit"] == "abc"
    if backends.unusable().get("cupy"):
        assert whole["parts"][1]["ended"] == "failed: status 1"
        assert "this needs a GPU" in (tmp_path / "parts.log").read_text("utf-8")
