"""Isotherm: Langevin sampling from energy functions, the same chain on every array library."""

from isotherm import math
from isotherm.arviz import summary, to_arviz
from isotherm.check import GradientReport, check_gradient
from isotherm.diagnostics import Diagnostics
from isotherm.energies import (
    AckleyEnergy,
    DoubleWellEnergy,
    GaussianEnergy,
    GaussianMixtureEnergy,
    HarmonicEnergy,
    RastriginEnergy,
    RosenbrockEnergy,
)
from isotherm.errors import (
    BackendError,
    BackendNotFoundError,
    DivergenceError,
    DivergenceWarning,
    FormulaError,
    InputError,
    IsothermError,
    RunInterrupted,
    StoreError,
)
from isotherm.formulas import formula
from isotherm.plan import Plan
from isotherm.planning import make_plan
from isotherm.result import Divergence, Info, Progress, Result
from isotherm.running import open_run, resume, run
from isotherm.sampler import LangevinDynamics, sample_chain

__version__ = "0.1.0"

__all__ = [
    "AckleyEnergy",
    "BackendError",
    "BackendNotFoundError",
    "Diagnostics",
    "Divergence",
    "DivergenceError",
    "DivergenceWarning",
    "DoubleWellEnergy",
    "FormulaError",
    "GaussianEnergy",
    "GaussianMixtureEnergy",
    "GradientReport",
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
    "StoreError",
    "check_gradient",
    "formula",
    "make_plan",
    "math",
    "open_run",
    "resume",
    "run",
    "sample_chain",
    "summary",
    "to_arviz",
]
