"""Each program in a process of its own, where it may fail, or take for ever, by itself."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.posteriors.samplers import PROGRAMS, Run, Sample
from benchmarks.posteriors.targets import Target, targets

_RELATIVE = 0.01  # error of second moments, to which the time is told
_CONTEXT = multiprocessing.get_context("spawn")


class FailedError(RuntimeError):
    """A program gave no answer; the message says why."""


class Process:
    """A program that prepares itself for a target, and then runs it as often as asked.

    Parameters
    ----------
    program, target : str
        Names, of `benchmarks.posteriors.samplers.PROGRAMS` and of `targets`.
    path : Path or None
        As `targets` takes it.
    """

    def __init__(self, program: str, target: str, path: Path | None) -> None:
        self._connection, other = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=_serve, args=(other, program, target, path), daemon=True
        )
        self._process.start()
        other.close()

    def run(self, seed: int, budget: float, patience: float) -> dict[str, Any]:
        """What came of a run of `budget` seconds."""
        self._connection.send((seed, budget))
        return self.answer(patience)

    def answer(self, patience: float) -> dict[str, Any]:
        """Its next one, that it is ready, or that of a run."""
        try:
            if not self._connection.poll(patience):
                raise FailedError(f"no answer in {patience:.0f} s")
            found, failure = self._connection.recv()
        except EOFError:
            self._process.join()
            raise FailedError(f"its process ended with {self._process.exitcode}") from None
        if failure is not None:
            raise FailedError(failure)
        return dict(found)

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(connection: Any, program: str, name: str, path: Path | None) -> None:
    """Send what was found, and None or what failed, once at first and then for each request."""
    warnings.simplefilter("ignore")
    try:
        (target,) = [one for one in targets(path) if one.name == name]
        began = time.perf_counter()
        sample = PROGRAMS[program](target)
        if program != "blackjax":  # which is compiled without being run
            sample(0, 0.0)
        connection.send(({"prepared": time.perf_counter() - began}, None))
        while True:
            connection.send((_measured(sample, *connection.recv(), target), None))
    except EOFError:
        return
    except Exception as error:  # whatever keeps a program from this target
        traceback.print_exc()
        connection.send((None, " ".join(f"{type(error).__name__}: {error}".split())[:200]))


def _measured(sample: Sample, seed: int, budget: float, target: Target) -> dict[str, Any]:
    began, busy, own = time.perf_counter(), _busy(), time.process_time()
    run = sample(seed, budget)
    own, taken = time.process_time() - own, time.perf_counter() - began
    others = (_busy() - busy - own) / (taken * (os.cpu_count() or 1))
    return measures(run, target) | {"cores": own / taken, "others": max(0.0, others)}


def _busy() -> float:
    """Seconds that all cores together were busy since the machine began; 0 where nothing tells."""
    try:
        numbers = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    idle, waiting = map(int, numbers[3:5])
    return (sum(map(int, numbers[:8])) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def measures(run: Run, target: Target) -> dict[str, Any]:
    """What came of a run: effective samples, times, and means of what is known."""
    import arviz

    x = np.concatenate(run.draws, axis=1).astype(np.float64)
    share = run.n_chains / len(x)
    middle = x.mean(axis=(0, 1))
    squares = (x - middle) ** 2

    def ess(values: Any) -> Any:
        return share * np.array([arviz.ess(one.T.copy(), method="mean") for one in values.T])

    of_x, of_squares = ess(x), ess(squares)
    with np.errstate(all="ignore"):
        wanted = squares.var(axis=(0, 1)) / (_RELATIVE * squares.mean(axis=(0, 1))) ** 2
        told = target.told(x)
        error = told.std(axis=(0, 1)) / np.sqrt(ess(told) / share)  # of the chains at hand
        sampling = run.seconds - run.warmup
        least = float(min(of_x.min(), of_squares.min()))
        return {
            "seconds": run.seconds,
            "warmup": run.warmup,
            "draws": int(share * x.shape[0] * x.shape[1]),
            "ess": least,
            "ess_per_second": least / run.seconds,
            "ess_per_gradient": least / max(run.n_gradients, 1),
            "seconds_to_second_moments": run.warmup + sampling * float((wanted / of_squares).max()),
            "mean": told.mean(axis=(0, 1)).tolist(),
            "error": error.tolist(),
        }
