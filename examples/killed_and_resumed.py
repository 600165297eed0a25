"""A run that is killed, and goes on
=================================

A process is killed in mid-run; another goes on from its store, with the bits of an unbroken run.

The killed process writes what it has done now and then; what it had not yet written is done again.

Run it as ``python killed_and_resumed.py [FOLDER]``. Needs ``isotherm[store]``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

import isotherm

mpl.use("agg")
import matplotlib.pyplot as plt

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
energy = isotherm.DoubleWellEnergy(barrier_height=3.0)
N_STEPS, THINNING = 4000, 20

PROGRAM = f"""
import isotherm, os, signal, sys, time

def die(progress):
    time.sleep(0.05)
    if progress.n_steps == {N_STEPS // 2}:
        os.kill(os.getpid(), signal.SIGTERM)

isotherm.sample_chain(
    isotherm.DoubleWellEnergy(barrier_height=3.0), dim=2, n_samples=100, n_steps={N_STEPS},
    thinning={THINNING}, step_size=0.01, seed=0, backend="numpy", store=sys.argv[1],
    return_diagnostics=True, flush_every=0.1, callback_every=100, callback=die,
)
"""

with tempfile.TemporaryDirectory() as scratch:
    store = Path(scratch, "run.zarr")
    died = subprocess.run([sys.executable, "-c", PROGRAM, store], check=False).returncode
    print(died != 0)  # True
    n_done = isotherm.open_run(store).info.n_steps
    print(f"killed at step {N_STEPS // 2}, with {n_done} steps in the store")

    run = isotherm.resume(store, energy)
    whole = isotherm.sample_chain(
        energy, dim=2, n_samples=100, n_steps=N_STEPS, thinning=THINNING, step_size=0.01, seed=0,
        return_trajectory=True,
    )  # fmt: skip
    print(np.array_equal(run.trajectory, whole))  # True

    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    steps = np.asarray(run.diagnostics.steps)
    before = steps <= n_done
    mean = np.asarray(run.diagnostics.energy).mean(axis=1)
    axis.plot(steps[before], mean[before], color="#0072B2", label="killed")
    axis.plot(steps[~before], mean[~before], color="#D55E00", label="gone on")
    axis.set_xlabel("step")
    axis.set_ylabel("mean energy")
    axis.legend(loc="upper right")
    figure.savefig(folder / "killed.png", dpi=120)
