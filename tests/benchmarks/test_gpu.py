"""The session on a card: its control flow, and its parts with a stand-in for the card."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
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
    return (
        "import json, os; file = open(os.environ['RECORDS'], 'a'); "
        f"line = json.dumps({{'part': os.environ['PART'], 'name': {name!r}}}); "
        "file.write('\\n' + line + '\\n'); file.flush(); "
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
        program(gpu, "crashes", add("four") + "os.kill(os.getpid(), 11)", log="others.log"),
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


def test_logs_stay_short_and_a_full_disk_ends_nothing(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "MOST_LOGGED", 4000)
    parts = (
        program(gpu, "prints", "print('first'); print('x\\n' * 50_000); print('last')"),
        program(gpu, "next", add("one")),
    )
    assert gpu.session(parts, tmp_path, 60.0, {})
    log = (tmp_path / "parts.log").read_text("utf-8")
    assert len(log) < 4000
    assert log.startswith("\n=== prints\nfirst\nx\n")
    assert log.endswith("x\n\nlast\n\n=== next\n")

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gpu, "write", full)
    assert gpu.session(parts, tmp_path, 60.0, {})
    said = capsys.readouterr().out
    assert "not written: [Errno 28] No space left" in said
    assert "0 of 2 parts did not end well" in said


def test_nothing_is_begun_without_time_for_it(gpu, tmp_path):
    parts = (program(gpu, "long", "import time; time.sleep(60)"), program(gpu, "late", "pass"))
    assert not gpu.session(parts, tmp_path, 2.0, {})
    whole = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert [part["ended"] for part in whole["parts"]] == [
        "cut off after 2 s", "not begun: no time was left"
    ]  # fmt: skip


TESTS = """
import os, pytest, signal

def test_good(): pass
@pytest.mark.parametrize("name", ["a name"])
def test_bad(name): assert name == "another"
def test_left_out(): pytest.skip("for a reason")
def test_crashes(): os.kill(os.getpid(), signal.SIGKILL)
"""


def test_tests_are_noted_as_they_end(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_wrong.py").write_text("import no_such_module")
    part = gpu.tests("tests", 60.0, "", str(tmp_path))
    gpu.session((part,), tmp_path, 60.0, {}, PYTHONPATH=str(BENCHMARKS))
    (found,) = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert found["ended"] == "crashed: SIGKILL"
    records = {one["name"].rpartition("/")[2]: one for one in found["records"]}
    assert {name: one["ok"] for name, one in records.items()} == {
        "test_wrong.py": False, "test_some.py::test_good": True,
        "test_some.py::test_bad[a name]": False, "test_some.py::test_left_out": None,
    }  # fmt: skip
    assert records["test_some.py::test_left_out"]["why"].endswith("for a reason")
    bad = records["test_some.py::test_bad[a name]"]
    assert bad["error"].startswith("AssertionError: assert 'a name' == 'another'")
    assert 'def test_bad(name): assert name == "another"' in bad["traceback"]
    said = (tmp_path / "summary.txt").read_text("utf-8")
    assert "test_bad[a name]: AssertionError: assert 'a name' == 'another'" in said
    assert "1 good, 1 skipped" in said
    assert "test_some.py::test_crashes" in (tmp_path / "tests.log").read_text("utf-8")


ILLEGAL = """
import pytest, sys, types
def fail():
    if state: raise RuntimeError("cudaErrorIllegalAddress")
state = []
runtime = types.SimpleNamespace(deviceSynchronize=fail)
sys.modules["cupy"] = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))
@pytest.mark.parametrize("i", range(8))
def test_some(i):
    if i == 2: state.append(1)
    fail()
"""


@pytest.mark.skipif(find_spec("xdist") is None, reason="it is of several processes")
def test_a_process_of_tests_without_its_card_is_another_from_then_on(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "CORES", 1)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    (tmp_path / "test_some.py").write_text(ILLEGAL)
    part = gpu.tests("tests", 60.0, "", str(tmp_path))
    environment = {"PYTHONPATH": str(BENCHMARKS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    gpu.session((part,), tmp_path, 60.0, {}, **environment)
    (found,) = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert len(found["records"]) == 8
    (bad,) = [one for one in found["records"] if not one["ok"]]
    assert bad["name"].endswith("test_some[2]")
    assert bad["error"] == "RuntimeError: cudaErrorIllegalAddress"


def test_the_summary_says_first_what_failed_and_is_not_cut_by_others(gpu):
    checks = [{"name": f"check {i}", "ok": False, "error": "x" * 900} for i in range(90)]
    figures = [{"name": f"time {i}", "ok": True, "call": {"median": 1e-3}} for i in range(200)]
    parts = [
        {"part": "kernels", "ended": "cut off after 9 s", "seconds": 9.0, "records": checks},
        {"part": "times", "ended": "well", "seconds": 2.0, "records": figures},
    ]
    checks.append({"name": "the last", "begun": "12:00:00"})
    said = gpu.summary({"commit": "abc", "seconds": 11.0, "parts": parts})
    assert len(said) <= gpu.MOST_PRINTED < 12_000
    lines = said.splitlines()
    assert lines[0].startswith("1 of 2 parts did not end well; 91 checks and tests failed; ")
    assert lines[1] == "kernels: cut off after 9 s, 9.0 s; 90 failed, 1 not ended"
    assert lines[2] == "times: well, 2.0 s; 200 good"
    assert lines[3].startswith("FAILED kernels: check 0: xxx")
    assert "time 0: call 0.001" in lines
    del checks[1:-1], figures[3:]
    said = gpu.summary({"commit": "abc", "seconds": 11.0, "parts": parts}).splitlines()
    assert said[4] == "UNENDED kernels: the last: begun, and not ended"
    assert said[-1] == "time 2: call 0.001"


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
    first = [part.seconds for part in gpu.PARTS[:-3]]
    assert sum(first) < 430
    root = BENCHMARKS.parent
    assert len({part.name for part in gpu.PARTS}) == len(gpu.PARTS)
    for part in gpu.PARTS:
        for word in part.command:
            path = word.removeprefix("--ignore=")
            if path.startswith("tests/"):
                assert (root / path).exists(), path


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

    def normals(size):
        return np.random.default_rng().standard_normal(size, dtype=np.float32)

    return gpu_parts.Card(HostBackend.name, "cpu", np, lambda: None, kernel_seconds, normals)


def found(part, card, tmp_path, **options):
    import gpu_parts

    records = gpu_parts.Records(tmp_path / "records.jsonl", part)
    getattr(gpu_parts, part)(*([card] if card else []), records, **options)
    return records, {
        one.pop("name"): one for one in gpu_parts.read(tmp_path / "records.jsonl", part)
    }


def some_cases(monkeypatch, *chosen):
    """Of a kind and an option each."""
    import gpu_parts

    cases = [one for one in gpu_parts.cases() if one.name in chosen]
    assert len(cases) == len(chosen)
    monkeypatch.setattr(gpu_parts, "cases", lambda: iter(cases))
    return cases


@needs_cupy
def test_kernels_are_held_to_the_reference(card, tmp_path, monkeypatch):
    cases = some_cases(
        monkeypatch, "elementwise, float32, kept", "whole state, float64, frozen",
        "quadratic, small, float32, malt of a matrix", "array loop, float16, mala",
        "quadratic, large, float32, plain",
    )  # fmt: skip
    records, lines = found("kernels", card, tmp_path)
    assert records.n_bad == 0, [line for line in lines.values() if not line["ok"]]
    assert set(lines) == {case.name for case in cases} | {"subnormal numbers", "a start drawn"}


@needs_cupy
def test_every_kind_is_run_small(card, tmp_path, monkeypatch):
    import gpu_parts

    kinds, arrays = gpu_parts.KINDS, gpu_parts.ARRAYS
    monkeypatch.setattr(gpu_parts, "KINDS", [kinds[0], kinds[6], kinds[-1]])
    monkeypatch.setattr(gpu_parts, "ARRAYS", arrays[1:2])
    records, lines = found("tiny", card, tmp_path)
    assert records.n_bad == 0, lines
    assert len(lines) == 3 * 2  # CUDA functions are for cards alone


@needs_cupy
def test_every_kind_of_kernel_there_is_is_among_the_checks(card):
    """What is new in the backend, in the samplers or in a plan has to be tried on a card too."""
    import inspect

    import gpu_parts

    import isotherm
    from isotherm._samplers.sample_chain import SAMPLERS
    from isotherm.backend import kind_of
    from isotherm_cupy import source, steps
    from isotherm_cupy.kernels import kernel_of

    kinds, texts, names = set(), set(), set()
    for case in gpu_parts.cases():
        assert case.name not in names
        names.add(case.name)
        plan = case.plan(card.backend, case.energy)
        kernel = kernel_of(plan, case.energy)
        assert case.path == (kernel.path if kernel else "array loop")
        form = kernel.request.energy if kernel else str(kind_of(case.energy))
        where = {"dtype": plan.dtype, "sampler": plan.sampler, "form": form}
        if kernel:
            where["layout"] = next(n for n, one in vars(steps).items() if one is kernel.layout)
            where["tile"] = "#define TILE 4" in kernel.source
            where["bounds"] = "#define BOUNDS __launch" in kernel.source
            texts.add(kernel.source)
        kinds.add(tuple(where.items()))
    found = [dict(kind) for kind in kinds]

    def tried(**wanted):
        return any(wanted.items() <= kind.items() for kind in found)

    layouts = [name for name, one in vars(steps).items() if isinstance(one, steps.Layout)]
    assert len(layouts) > 5
    for sampler in SAMPLERS:
        for form in ("elementwise", "whole", "quadratic"):
            for dtype in ("float32", "float64"):
                assert tried(sampler=sampler, form=form, dtype=dtype), (sampler, form, dtype)
        assert tried(sampler=sampler, layout="TEAM")
        assert tried(sampler=sampler, dtype="float16")
    for layout in layouts:
        assert tried(layout=layout, dtype="float64"), layout
        assert tried(layout=layout, dtype="float32") or layout == "DOUBLE_CHAIN"
    for is_so in (True, False):
        assert tried(layout="BLOCK", tile=is_so)
        assert tried(layout="BLOCK", bounds=is_so)
    # Of the array loop and of users' energies called on arrays, which are no part of a kernel's.
    others = {"fill.cu", "gradients.cu", "noise.cuh", "functions.cuh"}
    for file in source._CUDA.iterdir():
        if file.name not in others:
            assert any(source._read(file.name) in text for text in texts), file.name
    given = {name for one in gpu_parts.OPTIONS.values() for name in one} | set(gpu_parts.PLAIN)
    elsewhere = {
        "energy", "x", "dim", "dtype", "backend",  # each case's own
        "device", "on_divergence",  # of no kernel
    }  # fmt: skip
    assert given | elsewhere == set(inspect.signature(isotherm.make_plan).parameters)


@needs_cupy
def test_a_difference_is_noted_and_stops_nothing(card, tmp_path, monkeypatch):
    import gpu_parts

    import isotherm

    kinds = [list(kind) for kind in gpu_parts.KINDS[:1]]
    kinds[0][2] = isotherm.DoubleWellEnergy(barrier_height=2.1)
    monkeypatch.setattr(gpu_parts, "OPTIONS", {"plain": {}})
    monkeypatch.setattr(gpu_parts, "KINDS", kinds)
    monkeypatch.setattr(gpu_parts, "ARRAYS", [])
    records, lines = found("kernels", card, tmp_path)
    assert records.n_bad == 2
    bad = lines["elementwise, float32, plain"]
    assert bad["error"].startswith("AssertionError: samples: ")
    assert "the first at (0, 0): got np.float32(" in bad["error"]
    assert "in compared" in bad["traceback"]
    assert lines["a start drawn"]["ok"]


LOST = """
import os, sys
from pathlib import Path
import gpu_parts as parts
def synchronize():
    if lost: raise RuntimeError("an illegal memory access was encountered")
def crash(): os.kill(os.getpid(), 11)
def illegal(): lost.append(1); raise RuntimeError("an illegal memory access was encountered")
lost = []
records = parts.Records(
    Path(os.environ["RECORDS"]), os.environ["PART"], os.environ["SHARE"], synchronize)
checks = {"one": dict, "two": crash, "three": dict, "four": illegal, "five": dict, "six": dict}
for name, work in checks.items(): records.check(name, work)
sys.exit(records.n_bad > 0)
"""


@needs_cupy
def test_a_card_that_is_lost_costs_one_check(gpu, tmp_path):
    part = gpu.Part("part", 60.0, (sys.executable, "-c", LOST), copies=2)
    path = os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
    assert not gpu.session((part,), tmp_path, 60.0, {}, PYTHONPATH=path)
    (whole,) = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert {one["name"]: one["ok"] for one in whole["records"]} == {
        "one": True, "two": False, "three": True, "four": False, "five": True, "six": True,
    }  # fmt: skip
    bad = {one["name"]: one["error"] for one in whole["records"] if not one["ok"]}
    assert bad["two"].startswith("the process ended within it")
    assert bad["four"] == "RuntimeError: an illegal memory access was encountered"
    for how in ("crashed: SIGSEGV", "failed: status 3", "failed: status 1"):
        assert how in whole["ended"]


ON_A_CARD = """
import tests.cupy.stand_in  # before CuPy
import gpu_parts, sys
gpu_parts.find_spec = lambda name: None
gpu_parts.ARRAYS, gpu_parts.KINDS = [], gpu_parts.KINDS[-2:-1]
gpu_parts.OPTIONS = {"kept": gpu_parts.OPTIONS["kept"]}
sys.argv.append("")
small = {"n_samples": 3, "n_steps": 4}
gpu_parts.WORKLOADS = {
    name: (energy, options | small) for name, (energy, options) in gpu_parts.WORKLOADS.items()
    if name.startswith(("double", "10-D G"))
}
for sys.argv[1] in ("kernels", "tiny", "times", "peers"):
    try: gpu_parts.main()
    except SystemExit as ended: assert not ended.code, sys.argv
"""


@needs_cupy
def test_the_parts_run_as_on_a_card(tmp_path):
    """With all that they take from CuPy."""
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent), *sys.path])
    given = {"PYTHONPATH": path, "RECORDS": str(tmp_path / "records.jsonl")}
    ended = subprocess.run(
        [sys.executable, "-c", ON_A_CARD],
        env=os.environ | given, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = (tmp_path / "records.jsonl").read_text("utf-8").split("\n")
    found = {(one["part"], one["name"]): one for one in map(json.loads, filter(None, lines))}
    assert found["kernels", "CUDA functions, float32, kept"]["ok"]
    assert found["tiny", "CUDA functions, malt"]["ok"]
    assert found["times", "10-D Gaussian, 10,000 x 500"]["kernel"]["median"] > 0
    assert found["peers", "beside torchebm"]["why"] == "it is not installed"


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
        assert whole["parts"][1]["ended"].startswith("failed: status 1")
        said = (tmp_path / "summary.txt").read_text("utf-8")
        assert "FAILED kernels: the card: there is no device: there is no usable CUDA" in said
        assert said in ended.stdout
