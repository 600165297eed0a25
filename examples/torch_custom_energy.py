"""An energy of your own, as a class
=================================

Any object with ``__call__`` is an energy; here with a gradient too, and with little noise.

Run it as ``python torch_custom_energy.py [FOLDER]``.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from isotherm import LangevinDynamics

mpl.use("agg")
import matplotlib.pyplot as plt

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class HarmonicEnergy:
    def __call__(self, x):
        return 0.5 * x.pow(2)

    def gradient(self, x):
        return x


sampler = LangevinDynamics(energy_function=HarmonicEnergy(), step_size=0.01, noise_scale=0.1).to(
    device
)
samples, diagnostics = sampler.sample_chain(
    x=torch.tensor([2.0]), n_steps=50, n_samples=1000, return_diagnostics=True
)
print(tuple(samples.shape))  # (1000, 1)
print(tuple(diagnostics.shape))  # (50, 3, 1000, 1)
# The deterministic part shrinks the start by (1 - 0.01)**50.
print(f"mean {samples.mean().item():.2f}, expected {2.0 * 0.99**50:.2f}")

mean, spread = diagnostics.mean[:, 0].cpu(), diagnostics.variance[:, 0].sqrt().cpu()
figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
axis.fill_between(
    diagnostics.steps, mean - spread, mean + spread, color="#0072B2", alpha=0.3,
    label="mean ± standard deviation",
)  # fmt: skip
axis.plot(
    diagnostics.steps, 2.0 * 0.99**diagnostics.steps, color="black", ls="--", label="no noise"
)
axis.set_xlabel("step")
axis.set_ylabel("x")
axis.legend(loc="upper right")
figure.savefig(folder / "custom_energy.png", dpi=120)
