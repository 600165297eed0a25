"""What pieces, a callback and a store add to a run of the Numba backend.

    python benchmarks/long_runs.py [--rounds 9] [--out benchmarks/results/long_runs.json]

Each round runs the same chains in turn: by the backend alone in a single piece, through
`isotherm.run` in pieces, with a callback, and with a store on the disk of the folder for temporary
files, which keeps few states (a checkpoint) or many. The ratios are taken round by round, and of
the fastest rounds of each, which a machine with other guests disturbs least.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from reference import commit, machine, seconds, tell

import isotherm
from isotherm.backend import Outputs, registry

RUN = {"dim": 32, "n_samples": 4096, "n_steps": 8000, "step_size": 1e-3, "seed": 0}
FEW, MANY = 4000, 80  # thinning: 2 states and 100 states of 512 KiB


def plan_of(energy: isotherm.backend.FormulaEnergy, thinning: int) -> isotherm.Plan:
    return isotherm.make_plan(
        energy, **RUN, dtype="float32", backend="numba", thinning=thinning, return_trajectory=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    energy = isotherm.DoubleWellEnergy()
    few, many = plan_of(energy, FEW), plan_of(energy, MANY)
    start = isotherm.sample_chain(energy, **RUN | {"n_steps": 1}, backend="numba")
    runner = registry.load("numba").prepare(few, energy)
    with tempfile.TemporaryDirectory() as folder:
        stores = (Path(folder) / f"{number}.zarr" for number in range(10**6))
        ways: dict[str, Callable[[], object]] = {
            "one piece": lambda: runner.advance({"x": start}, 0, few.n_total, Outputs()),
            "run": lambda: isotherm.run(few, energy, start),
            "callback": lambda: isotherm.run(few, energy, start, callback=lambda status: False),
            "store, 2 states": lambda: isotherm.run(few, energy, start, store=next(stores)),
            "run, 100 states": lambda: isotherm.run(many, energy, start),
            "store, 100 states": lambda: isotherm.run(many, energy, start, store=next(stores)),
        }
        rounds = [
            {name: seconds(work) for name, work in ways.items()} for _ in range(options.rounds + 1)
        ][1:]  # the first warms up
    pairs = [
        ("run", "one piece"),
        ("callback", "one piece"),
        ("store, 2 states", "one piece"),
        ("store, 100 states", "run, 100 states"),
    ]
    fastest = {name: min(times[name] for times in rounds) for name in ways}
    ratios = {
        f"{one} / {other}": sorted(times[one] / times[other] for times in rounds)
        for one, other in pairs
    }
    result = {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba", "zarr")},
        },
        "commit": commit(),
        "workload": f"double well, {RUN['n_samples']} x {RUN['dim']} x {RUN['n_steps']}, float32",
        "seconds": {name: [times[name] for times in rounds] for name in ways},
        "ratios": {
            name: {
                "median": statistics.median(found),
                "range": [found[0], found[-1]],
                "of the fastest": fastest[one] / fastest[other],
            }
            for (name, found), (one, other) in zip(ratios.items(), pairs, strict=True)
        },
    }
    tell(result, options.out)


if __name__ == "__main__":
    main()
