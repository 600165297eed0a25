"""What a backend author needs; with `isotherm.testing`, all of it.

A backend is an object with the methods of `Backend`, declared as an entry point of the group
``isotherm.backends``. Everything else of the package whose name begins with an underscore may
change from one release to the next.
"""

from isotherm._arithmetic import functions, noise
from isotherm._arithmetic.arrays import (
    Array,
    device_name,
    empty,
    is_array,
    library_of,
    move,
    on_own_device,
    to_numpy,
)
from isotherm._arithmetic.exact import exact_sqrt
from isotherm._arithmetic.sums import JoinedNodes, Moments, fold, moments, total
from isotherm._backends import host_noise, registry
from isotherm._backends.array_loop import (
    ArrayLoop,
    Exponentials,
    FillNormals,
    RunSegment,
    Segments,
    Values,
)
from isotherm._backends.compiled_cache import CompiledCache
from isotherm._backends.memory import host_memory
from isotherm._backends.protocol import (
    Backend,
    HasCurrentDevice,
    HasCurrentStream,
    HasNormals,
    Outputs,
    Runner,
    State,
    Status,
)
from isotherm._energies.formulas import FormulaEnergy
from isotherm._energies.gaussian import GaussianEnergy
from isotherm._energies.origin import Declared, Form, Quadratic, form_of, is_portable
from isotherm._energies.parameters import FixedParameters, Parameters, finite_numbers
from isotherm._energies.protocol import kind_of
from isotherm._energies.users import (
    as_values,
    calls_of,
    has_row_a_chain,
    state_dtype,
    warn_of_terms,
)
from isotherm._plans.plan import PLAN_VERSION, Plan, Schedule
from isotherm._programs.array_program import ArrayEvaluator, ArrayProgram
from isotherm._programs.program import (
    COMPARISONS,
    FACTORS,
    STRUCTURAL,
    Instruction,
    Program,
    Recursion,
    operations,
)
from isotherm._programs.reads import what_is_read
from isotherm._programs.schedule import Level, LoopSchedule, regular
from isotherm._programs.tables import lists_of
from isotherm._transitions.program import (
    Call,
    Kind,
    Loop,
    Segment,
    Space,
    Statement,
    TransitionProgram,
    Variant,
    walk,
)
from isotherm.errors import EnergyWarning, InputError, plain_name, printable, short_repr

__all__ = [
    "COMPARISONS",
    "FACTORS",
    "PLAN_VERSION",
    "STRUCTURAL",
    "Array",
    "ArrayEvaluator",
    "ArrayLoop",
    "ArrayProgram",
    "Backend",
    "Call",
    "CompiledCache",
    "Declared",
    "EnergyWarning",
    "Exponentials",
    "FillNormals",
    "FixedParameters",
    "Form",
    "FormulaEnergy",
    "GaussianEnergy",
    "HasCurrentDevice",
    "HasCurrentStream",
    "HasNormals",
    "InputError",
    "Instruction",
    "JoinedNodes",
    "Kind",
    "Level",
    "Loop",
    "LoopSchedule",
    "Moments",
    "Outputs",
    "Parameters",
    "Plan",
    "Program",
    "Quadratic",
    "Recursion",
    "RunSegment",
    "Runner",
    "Schedule",
    "Segment",
    "Segments",
    "Space",
    "State",
    "Statement",
    "Status",
    "TransitionProgram",
    "Values",
    "Variant",
    "as_values",
    "calls_of",
    "device_name",
    "empty",
    "exact_sqrt",
    "finite_numbers",
    "fold",
    "form_of",
    "functions",
    "has_row_a_chain",
    "host_memory",
    "host_noise",
    "is_array",
    "is_portable",
    "kind_of",
    "library_of",
    "lists_of",
    "moments",
    "move",
    "noise",
    "on_own_device",
    "operations",
    "plain_name",
    "printable",
    "registry",
    "regular",
    "short_repr",
    "state_dtype",
    "to_numpy",
    "total",
    "walk",
    "warn_of_terms",
    "what_is_read",
]
