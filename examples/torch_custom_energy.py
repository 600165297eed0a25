"""An energy of one's own: any class with ``__call__``, here with a gradient too."""

import torch

from isotherm import LangevinDynamics

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
