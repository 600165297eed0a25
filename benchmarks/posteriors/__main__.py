"""Effective samples a second on posteriors, beside nutpie, BlackJAX and NumPyro.

    python -m benchmarks.posteriors [--targets FILE] [--only WORD ...] [--seconds 1] [--rounds 3]

Every program warms up, and samples until `--seconds` are over and at least as long as that took;
all in turn, in each round beginning with another one. They compile before that. A program that has
had `--patience` seconds on a target is not asked again. Writes
``benchmarks/results/posteriors.json``, and from it ``posteriors.md`` and ``posteriors.png``.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.posteriors.samplers import PROGRAMS, Run
from benchmarks.posteriors.targets import Target, targets

HERE = Path(__file__).parent
_RELATIVE = 0.01  # error of second moments, to which the time is told


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
        error = told.std(axis=(0, 1)) / np.sqrt(ess(told))
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


def agreement(found: dict[str, Any], target: Target, others: list[dict[str, Any]]) -> float | None:
    """The worst mean's distance from the truth, in combined errors.

    Where nothing is known, from the mean of the other programs, weighed by their errors.
    """
    mean, error = target.mean, target.error
    if mean is None:
        if not others:
            return None
        weights = np.array([one["error"] for one in others]) ** -2.0
        mean = (weights * np.array([one["mean"] for one in others])).sum(0) / weights.sum(0)
        error = weights.sum(0) ** -0.5
    with np.errstate(all="ignore"):
        both = np.sqrt(np.array(found["error"]) ** 2 + np.asarray(error) ** 2)
        return float(np.max(np.abs(np.array(found["mean"]) - mean) / both))


def compare(target: Target, seconds: float, rounds: int, patience: float) -> dict[str, Any]:
    """Every program, compiled first, in rounds."""
    able, missing, spent = {}, {}, dict.fromkeys(PROGRAMS, 0.0)
    for name, prepare in PROGRAMS.items():
        try:
            able[name] = prepare(target)
            if name != "blackjax":  # which is compiled without being run
                began = time.perf_counter()
                able[name](0, 0.0)
                print(f"  {name}: {time.perf_counter() - began:.1f} s at first", file=sys.stderr)
        except Exception as error:  # whatever keeps a program from this target
            able.pop(name, None)
            missing[name] = f"{type(error).__name__}: {error}"[:200]
            traceback.print_exc()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in able}
    names = list(able)
    for i in range(rounds):
        turn = i % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            if spent[name] < patience:
                run = able[name](i + 1, seconds)
                spent[name] += run.seconds
                found[name].append(measures(run, target))
    last = {name: runs[-1] for name, runs in found.items()}
    for name, runs in found.items():
        others = [last[other] for other in names if other != name]
        for one in runs:
            one["agreement"] = agreement(one, target, others)
    for one in (one for runs in found.values() for one in runs):
        del one["mean"], one["error"]
    return {
        "dim": target.dim, "mass": target.mass, "dtype": target.dtype,
        "programs": found, "missing": missing,
    }  # fmt: skip


def median(runs: list[dict[str, Any]], name: str) -> float:
    values = [one[name] for one in runs if one[name] is not None]
    return statistics.median(values) if values else math.nan


def ratio(work: dict[str, Any]) -> tuple[float, str]:
    """Isotherm's effective samples a second, over those of the best of the others."""
    programs = work["programs"]
    peers = [name for name in programs if name != "isotherm" and programs[name]]
    best = max(peers, key=lambda name: median(programs[name], "ess_per_second"), default="")
    if not best or "isotherm" not in programs:
        return math.nan, best
    pairs = zip(programs["isotherm"], programs[best], strict=False)  # patience may end sooner
    return statistics.median(a["ess_per_second"] / b["ess_per_second"] for a, b in pairs), best


def page(result: dict[str, Any]) -> str:
    """The tables."""
    works = result["targets"]
    ratios = [ratio(work)[0] for work in works.values()]
    lines = [
        "# Effective samples a second",
        "",
        f"{result['machine']} (load before {result['load_before']:.1f}); {result['date']}; commit "
        f"{result['commit']}; "
        + ", ".join(" ".join(pair) for pair in result["versions"].items())
        + f". Medians of {result['rounds']} interleaved rounds of {result['seconds']:g} s, or of "
        "twice a warm-up; warm-ups are counted and compiling is not. An effective sample is "
        "one of the worst coordinate, and of its squared deviation from the mean, by ArviZ; "
        "gradients are those after the warm-up. `python -m benchmarks.posteriors` made this page.",
        "",
        f"Isotherm has at least ten times the effective samples a second of the best of the others "
        f"on {sum(r >= 10 for r in ratios)} of {len(ratios)} targets; the least ratio is "
        f"{min(ratios, default=math.nan):.3g}.",
        "",
        "| target | coordinates | mass, dtype | program | ESS/s | ratio of Isotherm's to it | "
        "ESS/gradient | warm-up, s | second moments within 1 %, s | worst mean, in errors |",
        "|" + " --- |" * 10,
    ]
    for name, work in works.items():
        ours = work["programs"].get("isotherm", [])
        for program, runs in work["programs"].items():
            over = [
                a["ess_per_second"] / b["ess_per_second"] for a, b in zip(ours, runs, strict=False)
            ]
            lines.append(
                f"| {name} | {work['dim']} | {work['mass']}, {work['dtype']} | {program} | "
                f"{median(runs, 'ess_per_second'):,.0f} | "
                f"{statistics.median(over) if over else math.nan:.3g} | "
                f"{median(runs, 'ess_per_gradient'):.2g} | {median(runs, 'warmup'):.2g} | "
                f"{median(runs, 'seconds_to_second_moments'):.2g} | "
                f"{median(runs, 'agreement'):.1f} |"
            )
        lines += [f"| {name} | | | {p} | {why} | | | | | |" for p, why in work["missing"].items()]
    return "\n".join([*lines, "", "![Effective samples a second](posteriors.png)", ""])


def picture(result: dict[str, Any], path: Path) -> None:
    """Effective samples a second of every program on every target."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    works = dict(sorted(result["targets"].items(), key=lambda pair: ratio(pair[1])[0]))
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.28 * len(works)), layout="constrained")
    for name, marker in zip(PROGRAMS, "osv^", strict=True):
        found = [(i, w["programs"][name]) for i, w in enumerate(works.values())
                 if w["programs"].get(name)]  # fmt: skip
        axis.semilogx(
            [median(runs, "ess_per_second") for _, runs in found], [i for i, _ in found],
            marker, label=name, markersize=8 if name == "isotherm" else 5,
        )  # fmt: skip
    axis.set_yticks(range(len(works)), list(works), fontsize="small")
    axis.set_xlabel("effective samples a second, warm-up counted")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write(result: dict[str, Any], folder: Path) -> None:
    """Write ``posteriors.json``, ``posteriors.md`` and ``posteriors.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (folder / "posteriors.json").write_text(text + "\n", encoding="utf-8")
    (folder / "posteriors.md").write_text(page(result), encoding="utf-8")
    picture(result, folder / "posteriors.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=Path, help="targets.json or its folder")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="benchmarks/results, if not --quick")
    parser.add_argument("--quick", action="store_true", help="tiny runs, to see that it runs")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from reference import commit, machine

    out = options.out or (Path(tempfile.mkdtemp()) if options.quick else HERE.parent / "results")
    seconds, rounds = (0.0, 1) if options.quick else (options.seconds, options.rounds)
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_before": os.getloadavg()[0],
        "commit": commit(),
        "seconds": seconds,
        "rounds": rounds,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("nutpie", "blackjax", "numpyro", "jax", "numba")
        },
        "targets": {},
    }
    for target in targets(options.targets):
        if options.only and not any(word in target.name for word in options.only):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work = compare(target, seconds, rounds, options.patience)
        result["targets"][target.name] = work
        said = {
            name: f"{median(runs, 'ess_per_second'):,.0f} ({median(runs, 'agreement'):.1f})"
            for name, runs in work["programs"].items()
        }
        print(f"{target.name}: {said}; to the best {ratio(work)[0]:.3g}", file=sys.stderr)
        write(result, out)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
