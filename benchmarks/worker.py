"""The process of one program: a line of JSON asks, a line of JSON answers.

    {"workload": {...}, "repeats": n}   →   {"seconds": mean of n runs, "square": mean of x²},
                                            or {"unsupported": why}
    {}                                  →   {"peak_bytes": the most memory that the process had}

It begins with {"versions": ..., "threads": ...}, or {"missing": why} and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

from peers import PEERS, Unsupported
from workloads import Workload


def main(name: str) -> None:
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    sys.path.append(sys.path.pop(0))  # of libraries one has the name of a folder here
    module, *arguments = PEERS[name]
    try:
        peer = importlib.import_module(f"peers.{module}")
        answer({"versions": peer.versions(*arguments), "threads": peer.threads(*arguments)})
    except Exception as error:  # whatever keeps a library from being there
        answer({"missing": f"{type(error).__name__}: {error}"})
        return

    @cache
    def prepare(workload: Workload) -> Callable:
        if workload.sampler not in getattr(peer, "SAMPLERS", ("langevin",)):
            raise Unsupported("it is another sampler")
        return peer.prepare(workload, *arguments)

    seeds = count()
    for line in sys.stdin:
        request = json.loads(line)
        if request:
            answer(measure(prepare, Workload(**request["workload"]), request["repeats"], seeds))
        else:
            # Kibibytes on Linux, bytes on macOS.
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer({"peak_bytes": peak * unit})


def measure(prepare: Callable, workload: Workload, repeats: int, seeds: count) -> dict[str, Any]:
    try:
        run = prepare(workload)
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    began = time.perf_counter()
    for _ in range(repeats):
        samples = run(next(seeds))
    seconds = (time.perf_counter() - began) / repeats
    assert samples.shape == (workload.n_chains, workload.dim)
    return {"seconds": seconds, "square": float((samples.astype("float64") ** 2).mean())}


if __name__ == "__main__":
    main(sys.argv[1])
