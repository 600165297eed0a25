"""What a backend author needs; with `isotherm.testing`, all of it.

A backend is an object with the methods of `Backend`, declared as an entry point of the group
``isotherm.backends``. Everything else of the package whose name begins with an underscore may
change from one release to the next.
"""

from isotherm._arithmetic import noise
from isotherm._arithmetic.arrays import (
    Array,
    device_name,
    empty,
    is_array,
    library_of,
    move,
    to_numpy,
)
from isotherm._arithmetic.exact import exact_sqrt
from isotherm._backends import host_noise, registry
from isotherm._backends.array_loop import ArrayLoop, FillNormals, LangevinTransition, Transition
from isotherm._backends.memory import host_memory
from isotherm._backends.protocol import Backend, HasCurrentDevice, Outputs, Runner, Status
from isotherm._energies.formulas import FormulaEnergy
from isotherm._energies.gaussian import GaussianEnergy
from isotherm._energies.parameters import finite_numbers
from isotherm._plans.plan import PLAN_VERSION, Plan, Schedule
from isotherm._programs.array_program import ArrayEvaluator, ArrayProgram
from isotherm._programs.program import COMPARISONS, STRUCTURAL, Instruction, Program
from isotherm._programs.tables import lists_of
from isotherm.errors import InputError

__all__ = [
    "COMPARISONS",
    "PLAN_VERSION",
    "STRUCTURAL",
    "Array",
    "ArrayEvaluator",
    "ArrayLoop",
    "ArrayProgram",
    "Backend",
    "FillNormals",
    "FormulaEnergy",
    "GaussianEnergy",
    "HasCurrentDevice",
    "InputError",
    "Instruction",
    "LangevinTransition",
    "Outputs",
    "Plan",
    "Program",
    "Runner",
    "Schedule",
    "Status",
    "Transition",
    "device_name",
    "empty",
    "exact_sqrt",
    "finite_numbers",
    "host_memory",
    "host_noise",
    "is_array",
    "library_of",
    "lists_of",
    "move",
    "noise",
    "registry",
    "to_numpy",
]
