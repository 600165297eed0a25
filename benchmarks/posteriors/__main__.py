"""Effective samples a second on posteriors, beside nutpie, BlackJAX and NumPyro.

    python -m benchmarks.posteriors [--targets FILE] [--only WORD ...] [--missing]
        [--seconds 1] [--rounds 3]

Every program warms up, and samples until `--seconds` are over and at least as long as that took;
all in turn, in each round beginning with another one. They compile before that. A program that has
had `--patience` seconds on a target is not asked again. After each target
``benchmarks/results/posteriors.json`` is written, and from it ``posteriors.md`` and
``posteriors.png``; targets that are in it already stay, or are measured anew.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.posteriors.processes import FailedError, Process
from benchmarks.posteriors.samplers import PROGRAMS
from benchmarks.posteriors.targets import Target, targets
from benchmarks.reference import commit, machine

HERE = Path(__file__).parent


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


def compare(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    """Every program, compiled first, in rounds."""
    missing: dict[str, str] = {}
    able: dict[str, Process] = {}
    found: dict[str, list[dict[str, Any]]] = {}

    def tried(name: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return do()
        except FailedError as error:
            able.pop(name).end()
            missing[name] = str(error)
            return {}

    try:
        for name in PROGRAMS:
            able[name] = Process(name, target.name, options.targets)
        for name in PROGRAMS:
            process = able[name]
            ready = tried(name, partial(process.answer, options.compiling))
            print(f"  {name}: {missing.get(name, ready)}", file=sys.stderr)
        found = {name: [] for name in able}
        for i in range(options.rounds):
            names = list(able)
            turn = i % max(1, len(names))
            for name in names[turn:] + names[:turn]:
                if sum(run["seconds"] for run in found[name]) >= options.patience:
                    continue
                run = partial(able[name].run, i + 1, options.seconds, 20.0 * options.patience)
                made = tried(name, run)
                found[name] += [made] if made else []
    finally:
        for process in able.values():
            process.end()
    found = {name: runs for name, runs in found.items() if runs}
    last = {name: runs[-1] for name, runs in found.items()}
    for name, runs in found.items():
        others = [one for other, one in last.items() if other != name]
        for one in runs:
            one["agreement"] = agreement(one, target, others)
    for one in (one for runs in found.values() for one in runs):
        del one["mean"], one["error"]
    return {
        "dim": target.dim, "mass": target.mass, "dtype": target.dtype, "date": now(),
        "commit": commit(), "programs": found, "missing": missing,
    }  # fmt: skip


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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
    others = [one["others"] for work in works.values() for runs in work["programs"].values()
              for one in runs]  # fmt: skip
    lines = [
        "# Effective samples a second",
        "",
        f"{result['machine']}, of which other processes had {statistics.median(others):.0%} while "
        f"the programs ran (at worst {max(others):.0%}); "
        f"{min(work['date'] for work in works.values())} and later; "
        + ", ".join(" ".join(pair) for pair in result["versions"].items())
        + f". Medians of up to {result['rounds']} interleaved rounds of {result['seconds']:g} s, "
        "or of twice a warm-up; warm-ups are counted and compiling is not. An effective sample is "
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


def before(path: Path, made: dict[str, Any]) -> dict[str, Any]:
    """The targets of a file, where it was made by the same programs on the same machine."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text("utf-8"))
    differs = [name for name, value in made.items() if kept.get(name) != value]
    if differs:
        raise SystemExit(f"{path} has other {', '.join(differs)}; give another --out, or remove it")
    found: dict[str, Any] = kept["targets"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=Path, help="targets.json or its folder")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--missing", action="store_true", help="only what the file does not have")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20.0)
    parser.add_argument("--compiling", type=float, default=600.0, help="seconds, at most")
    parser.add_argument("--out", type=Path, help="benchmarks/results, if not --quick")
    parser.add_argument("--quick", action="store_true", help="tiny runs, to see that it runs")
    options = parser.parse_args()
    out = options.out or (Path(tempfile.mkdtemp()) if options.quick else HERE.parent / "results")
    if options.quick:
        options.seconds, options.rounds = 0.0, 1
    result = {
        "machine": machine(),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("nutpie", "blackjax", "numpyro", "jax", "numba")
        },
    }
    works = before(out / "posteriors.json", result)
    result["targets"] = works
    for target in targets(options.targets):
        if options.only and not any(word in target.name for word in options.only):
            continue
        if options.missing and target.name in works:
            continue
        works[target.name] = work = compare(target, options)
        said = {
            name: f"{median(runs, 'ess_per_second'):,.0f} ({median(runs, 'agreement'):.1f})"
            for name, runs in work["programs"].items()
        }
        print(f"{target.name}: {said}; to the best {ratio(work)[0]:.3g}", file=sys.stderr)
        write(result, out)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
