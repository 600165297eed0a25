"""The comparison for people: a page of tables, and a picture of how times grow.

python benchmarks/report.py benchmarks/results/compare.json
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

BASELINES = ("isotherm numba", "isotherm torch", "isotherm numpy")
"""Ratios are to the first of these that does a workload."""


def write(result: dict[str, Any], folder: Path) -> None:
    """Write ``compare.md`` and, where it was measured how times grow, ``scaling.png``."""
    (folder / "compare.md").write_text(page(result), encoding="utf-8")
    if all(result["times"].values()):
        picture(result, folder / "scaling.png")


def page(result: dict[str, Any]) -> str:
    programs, times = result["programs"], result["times"]
    present = [name for name, about in programs.items() if "missing" not in about]
    lines = [
        "# Isotherm beside other programs",
        "",
        f"{result['machine']} (load before {result['load_before']:.1f}); Python "
        f"{result['python']}; {result['date']}; commit {result['commit']}. Langevin chains in "
        f"float32 on the CPU. Medians of {result['rounds']} "
        "interleaved rounds, with the least and the greatest; ratios are taken within a round. "
        "`benchmarks/compare.py` made this page.",
        "",
        *table(
            ["program", "versions", "threads"],
            [[name, *described(about)] for name, about in programs.items()],
        ),
        "",
        "## Time",
        "",
    ]
    for name, work in times["main"].items():
        base = baseline(work)
        rows = [
            [
                peer,
                milliseconds(work["seconds"][peer]),
                ratios(work["seconds"][peer], work["seconds"][base]),
                f"{work['first_seconds'][peer]:.2f}",
            ]
            if peer in work["seconds"]
            else [peer, work["unsupported"][peer], "", ""]
            for peer in present
        ]
        heading = ["program", "time, ms", f"time / {base}", "first run, s"]
        lines += [f"### {name}: {work['size']}", "", *table(heading, rows), ""]
    lines += [
        "The first run traces and compiles, where no cache on disk has the kernel.",
        "",
        "![Time against chains, dimension and steps](scaling.png)",
        "",
        "## Memory",
        "",
        "The peak of a process that runs the workload once, in MiB; in brackets, of what its "
        "libraries need before that.",
        "",
    ]
    works = list(result["memory"])
    rows = []
    for peer in present:
        peaks = [result["memory"][work].get(peer) for work in works]
        rows.append([peer, *(mebibytes(peak) if peak else "" for peak in peaks)])
    return "\n".join([*lines, *table(["program", *works], rows), ""])


def baseline(work: dict[str, Any]) -> str:
    return next(name for name in BASELINES if name in work["seconds"])


def described(about: dict[str, Any]) -> list[str]:
    if "missing" in about:
        return [f"missing: {about['missing']}", ""]
    return [", ".join(map(" ".join, about["versions"].items())), str(about["threads"])]


def table(heading: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(heading)} |",
        f"|{' --- |' * len(heading)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def milliseconds(seconds: list[float]) -> str:
    return spread([1e3 * value for value in seconds])


def ratios(seconds: list[float], base: list[float]) -> str:
    return spread([ours / theirs for ours, theirs in zip(seconds, base, strict=True)])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def mebibytes(peak: dict[str, int]) -> str:
    return f"{peak['after'] / 2**20:.0f} ({peak['started'] / 2**20:.0f})"


def picture(result: dict[str, Any], path: Path) -> None:
    mpl.use("agg")
    energies = {"chains": "10-D Gaussian", "dimension": "double well", "steps": "10-D Gaussian"}
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    for axis, (group, energy) in zip(axes, energies.items(), strict=True):
        sizes = [int(name.split()[-1]) for name in result["times"][group]]
        works = result["times"][group].values()
        for index, name in enumerate(result["programs"]):
            if all(name in work["seconds"] for work in works):
                medians = [statistics.median(work["seconds"][name]) for work in works]
                ours = name.startswith("isotherm")
                axis.loglog(
                    sizes, medians, color=f"C{index}", marker="o", markersize=4, label=name,
                    linewidth=2.5 if ours else 1.2, linestyle="-" if ours else "--",
                )  # fmt: skip
        axis.set_xlabel(group)
        axis.set_title(energy, fontsize="medium")
        axis.grid(which="both", alpha=0.2)
    axes[0].set_ylabel("seconds")
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write(json.loads(source.read_text(encoding="utf-8")), source.parent)
