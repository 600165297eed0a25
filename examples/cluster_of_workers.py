"""A cluster of workers
====================

Chains are shared out among processes; however many there are, the result has the same bits.

Dask's cluster of this one machine stands for one of many: on a real one only the ``Client``'s
argument is another. See the page on clusters for MPI, Slurm and cards.

Run it as ``python cluster_of_workers.py [FOLDER]``. Needs Dask (``pip install distributed``).
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from distributed import Client

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
energy = isotherm.RosenbrockEnergy(b=5.0)
plan = isotherm.make_plan(
    energy, dim=2, n_samples=2000, n_steps=500, step_size=5e-3, seed=0, backend="numpy"
)
alone = isotherm.run(plan, energy).samples


def with_workers(n_workers):
    """The samples of a cluster of so many workers."""
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None}
    with Client(n_workers=n_workers, **options) as client:
        return isotherm.run(plan, energy, executor=client.get_executor(), n_shares=8).samples


if __name__ == "__main__":
    shared = {n: with_workers(n) for n in (1, 3)}
    print(all(np.array_equal(x, alone) for x in shared.values()))  # True

    figure, axis = plt.subplots(figsize=(5.5, 4), layout="constrained")
    shares = np.arange(2000) * 8 // 2000
    points = axis.scatter(*shared[3].T, c=shares, cmap="viridis", s=6)
    figure.colorbar(points, label="share of the chains")
    axis.set_xlabel("$x_1$")
    axis.set_ylabel("$x_2$")
    figure.savefig(folder / "cluster.png", dpi=120)
