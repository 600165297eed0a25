"""Isotherm: sampling from energy functions, the same chain on every array library."""

from isotherm import math, transitions
from isotherm._energies.builtin import (
    AckleyEnergy,
    DoubleWellEnergy,
    GaussianMixtureEnergy,
    HarmonicEnergy,
    RastriginEnergy,
    RosenbrockEnergy,
)
from isotherm._energies.check import GradientReport, check_gradient
from isotherm._energies.formulas import formula
from isotherm._energies.gaussian import GaussianEnergy
from isotherm._energies.score import score
from isotherm._energies.vectorize import vectorize
from isotherm._planning.make_plan import make_plan
from isotherm._plans.plan import Plan
from isotherm._results.diagnostics import Diagnostics
from isotherm._results.result import Divergence, Info, Progress, Result, RunInterrupted
from isotherm._runs.arviz import summary, to_arviz
from isotherm._runs.bias import Bias, bias
from isotherm._runs.explain import Explanation, explain
from isotherm._runs.resume import open_run, resume
from isotherm._runs.run import run
from isotherm._runs.virial import Virial, virial
from isotherm._samplers.langevin import LangevinDynamics, UnderdampedLangevin
from isotherm._samplers.metropolis import MALA, HamiltonianMonteCarlo
from isotherm._samplers.sample_chain import sample_chain
from isotherm._training.annealed import annealed
from isotherm._training.chain_buffer import ChainBuffer
from isotherm._training.pack import pack
from isotherm._warmup.tuning import Tuning
from isotherm._warmup.warm_up import warm_up
from isotherm.errors import (
    BackendError,
    BackendNotFoundError,
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    ExtraNotInstalledError,
    FormulaError,
    InputError,
    IsothermError,
    SamplingWarning,
    StoreError,
    UnknownArgumentError,
    WarmUpWarning,
)

__version__ = "0.1.0"

__all__ = [
    "MALA",
    "AckleyEnergy",
    "BackendError",
    "BackendNotFoundError",
    "Bias",
    "ChainBuffer",
    "Diagnostics",
    "Divergence",
    "DivergenceError",
    "DivergenceWarning",
    "DoubleWellEnergy",
    "EnergyWarning",
    "Explanation",
    "ExtraNotInstalledError",
    "FormulaError",
    "GaussianEnergy",
    "GaussianMixtureEnergy",
    "GradientReport",
    "HamiltonianMonteCarlo",
    "HarmonicEnergy",
    "Info",
    "InputError",
    "IsothermError",
    "LangevinDynamics",
    "Plan",
    "Progress",
    "RastriginEnergy",
    "Result",
    "RosenbrockEnergy",
    "RunInterrupted",
    "SamplingWarning",
    "StoreError",
    "Tuning",
    "UnderdampedLangevin",
    "UnknownArgumentError",
    "Virial",
    "WarmUpWarning",
    "annealed",
    "bias",
    "check_gradient",
    "explain",
    "formula",
    "make_plan",
    "math",
    "open_run",
    "pack",
    "resume",
    "run",
    "sample_chain",
    "score",
    "summary",
    "to_arviz",
    "transitions",
    "vectorize",
    "virial",
    "warm_up",
]
