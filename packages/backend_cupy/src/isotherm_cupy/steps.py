"""A transition printed as the CUDA C++ kernel ``advance``, which steps chains of one energy.

The names of the kernel's arguments stand once, in `parameters_of`. How a chain's numbers lie in
threads is a `Layout`: one text serves all, as a number of a coordinate is a thread's own, or an
element of a thread's array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isotherm.backend import (
    Call,
    Loop,
    Plan,
    Segment,
    Space,
    Statement,
    TransitionProgram,
    noise,
    walk,
)
from isotherm_cupy.printer import expression, segment_lines

_ELEMENT = """\
const long long element = thread_number();
if (element >= n_samples * dim) return;
const long long chain = element / dim;
const int j = (int)(element % dim);"""
_BLOCK = """\
__shared__ __align__(16) REAL rows[2][TILES * TILE * STRIDE];
const int own = (int)threadIdx.x / DIM, j = (int)threadIdx.x % DIM;
const long long chain = ((long long)blockIdx.x * TILES + own) * TILE;"""
_CHAIN = """\
const bool is_there = thread_number() / LANES < n_samples;
const long long chain = is_there ? thread_number() / LANES : n_samples - 1;"""
_TEAM = """\
const int c = (int)threadIdx.x % WIDTH, member = (int)threadIdx.x / WIDTH;
REAL* const own = memory + (long long)blockIdx.x * n_numbers * WIDTH + c;
REAL* const rest = own + STATES * DIM * WIDTH;
for (long long tile = blockIdx.x; tile * WIDTH < n_samples; tile += gridDim.x) {
const long long chain = tile * WIDTH + c;
const bool is_there = chain < n_samples;"""


@dataclass(frozen=True)
class Layout:
    """How a chain's numbers lie in threads.

    Attributes
    ----------
    place : str
        The kernel's first lines: which chain a thread has, and which coordinate.
    each : str
        The loop over the numbers that a thread has of a value, if it has several.
    at : str
        Behind the array of a value: the one that the loop has come to.
    arrays : tuple of Space
        The values of which it has several.
    element, own_chain : str
        That number's place in memory, and its chain.
    readable, writable : str
        The conditions of its place's being read, and written, if there are any.
    of_chain : str
        The condition that lets one thread of each chain pass.
    bounds : str
        A macro: what the compiler is told of a block's threads, if anything.
    first : str
        The first of its coordinates.
    sums : tuple of str
        The file that has sums over coordinates, if it can have any.
    is_long : bool
        Whether a block of steps, unrolled, would be longer than what a multiprocessor keeps of a
        program, and its normals more than a thread has registers.
    shares_state : bool
        Whether the state before a step is in shared memory too.
    end : str
        The kernel's last line, if its first ones need one.
    """

    place: str
    each: str = ""
    at: str = ""
    arrays: tuple[Space, ...] = ()
    element: str = "element"
    own_chain: str = "chain"
    readable: str = ""
    writable: str = ""
    of_chain: str = ""
    bounds: str = ""
    first: str = "j"
    sums: tuple[str, ...] = ()
    is_long: bool = False
    shares_state: bool = False
    end: str = ""

    @property
    def has_several_coordinates(self) -> bool:
        """Whether a thread may have several coordinates of one chain."""
        return self.arrays == (Space.STATE,)

    @property
    def is_shared(self) -> bool:
        """Whether the threads of a block hand each other numbers."""
        return self is BLOCK

    @property
    def is_team(self) -> bool:
        """Whether several threads have a chain, all of whose numbers lie in global memory."""
        return self is TEAM


#: A thread is a coordinate, and nothing couples coordinates.
ELEMENT = Layout(_ELEMENT)
#: A thread is a coordinate of a tile of chains, and a block has whole tiles.
BLOCK = Layout(
    _BLOCK,
    each="for (int c = 0; c < TILE; ++c) {",
    at="[c]",
    arrays=(Space.STATE, Space.CHAIN),
    element="(chain + c) * DIM + j",
    own_chain="chain + c",
    readable="chain + c < n_samples",
    writable="chain + c < n_samples",
    of_chain="chain + c < n_samples && j == 0",
    bounds="BOUNDS ",
    sums=("block.cuh",),
)
#: A thread is a chain, or a few threads of a warp are.
CHAIN = Layout(
    _CHAIN,
    each="for (int i = 0; i < HELD; ++i) { const int j = coordinate(i);",
    at="[i]",
    arrays=(Space.STATE,),
    element="chain * DIM + j",
    writable="is_there && is_own(i)",
    of_chain="is_there && lane() == 0",
    first="0",
    sums=("lanes.cuh",),
)
#: A thread has many coordinates, and their normals are in shared memory.
LONG_CHAIN = replace(CHAIN, is_long=True)
#: The same for proposals in float64, beside which there are no registers for what they replace.
DOUBLE_CHAIN = replace(LONG_CHAIN, shares_state=True)
_MOST_STEPS_PER_BLOCK = max(noise.steps_per_block(dtype) for dtype in ("float32", "float64"))
WARP = 32  # threads that hand each other numbers at once; and of a block of a long layout
#: A team of threads is a chain of many coordinates, whose numbers are in global memory.
TEAM = Layout(
    _TEAM,
    each="for (int j = member; j < DIM; j += TEAM) {",
    at="[j * WIDTH]",
    arrays=(Space.STATE,),
    element="chain * DIM + j",
    readable="is_there",
    writable="is_there",
    of_chain="is_there && member == 0",
    first="0",
    sums=("team.cuh",),
    is_long=True,
    end="}",
)

_TYPES = {
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
}

_ADVANCE = """
extern "C" __global__ {bounds}void advance(
    {parameters}
) {{
    {place}
    const Noise noise = {{k0, k1, chain_offset}};
    {before}
    Kept kept(states + chain * chain_stride + {first}, until_kept, thinning, kept_stride);
    {steps}
    {after}
    {end}
}}
"""

_IN_BLOCKS = """\
for_each_step(
    first_step, n_steps,
    [&](unsigned block) {{
        {fill}
    }},
    [&](int position, int s) {{
        {step}
    }}
);"""

_LONG_BLOCKS = """\
#pragma unroll 1
for (int s = 0; s < n_steps; ++s) {{
    const int position = (int)((first_step + s) % STEPS_PER_BLOCK);
    if (s == 0 || position == 0) {{
        const unsigned block = (unsigned)((first_step + s) / STEPS_PER_BLOCK);
        {fill}
    }}
    {step}
}}"""

# Of an odd length, so that threads are served by different banks of the memory at once.
_SHARED_NORMALS = """\
__shared__ REAL shared_{stream}[{threads}][HELD * STEPS_PER_BLOCK + 1];
REAL (*z_{stream})[STEPS_PER_BLOCK] = (REAL (*)[STEPS_PER_BLOCK])shared_{stream}[threadIdx.x];"""

_SHARED_STATE = """\
__shared__ REAL shared_{variable}[{threads}][HELD + 1];
REAL* {variable} = shared_{variable}[threadIdx.x];"""

# A place of a block of steps after another, so that neighbouring threads read neighbouring numbers.
_NORMALS_OF_A_TEAM = """\
REAL z[STEPS_PER_BLOCK];
noise.fill(z, {stream}, block, (unsigned)j, chain);
for (int p = 0; p < STEPS_PER_BLOCK; ++p) {place} = z[p];"""

_ONE_BY_ONE = """\
#pragma unroll 1
for (int s = 0; s < n_steps; ++s) {{
    const long long t = first_step + s;
    {step}
}}"""


@dataclass(frozen=True)
class Request:
    """What a kernel is printed for.

    Attributes
    ----------
    program : TransitionProgram
    energy : str
        ``"elementwise"``, ``"whole"`` or ``"quadratic"``: what its functions take.
    varying : frozenset of str
        Coefficients that differ from step to step; the others are read once.
    zeros : frozenset of str
        Those of the others that are zero.
    keeps : bool
        Whether states are kept.
    """

    program: TransitionProgram
    energy: str
    varying: frozenset[str] = field(default_factory=frozenset)
    zeros: frozenset[str] = field(default_factory=frozenset)
    keeps: bool = False


def request_of(plan: Plan, program: TransitionProgram, energy: str) -> Request:
    """What a plan asks of a kernel, so that nobody pays for what it does not."""
    varying = plan.varying_coefficients()
    zeros = frozenset[str]()
    if plan.n_total:
        first = plan.coefficients(0, 1)
        zeros = frozenset(name for name, values in first.items() if values[0] == 0.0) - varying
    keeps = plan.return_trajectory or plan.return_diagnostics
    return Request(program, energy, varying, zeros, keeps)


def parameters_of(program: TransitionProgram, layout: Layout = CHAIN) -> dict[str, str]:
    """The parameters of ``advance``, with their types.

    ``parameters``
        The energy's.
    ``coefficients``
        The transition's, those of a step next to each other; one row, or one a step.
    ``chain_coefficients``
        Of each of these a row a step, or one row where none varies, of a number a chain.
    ``vectors``
        Its vectors, and then its matrices, each column by column.
    ``x_before``, ``x_after``, ...
        What is carried, shape (n_samples, dim) each.
    ``until_kept``, ``thinning``
        The first step that is kept, counted from 1, and how far the next.
    ``states``, ``chain_stride``, ``kept_stride``
        Where kept states go.
    ``energy_error``, ``accepted``, ``diverging``, ``first_counted``
        Of adjusted samplers, as in `isotherm.backend.Outputs`; the first step that counts.
    ``indices``, ``memory``, ``n_numbers``
        Of teams: what an energy on arrays reads besides its parameters; global memory, and how many
        numbers of it a chain has.
    """
    names = {"n_samples": "long long", "dim": "int"}
    names |= dict.fromkeys(("parameters", "coefficients", "vectors"), "const REAL*")
    if program.chain_coefficients:
        names["chain_coefficients"] = "const REAL*"
    for name in program.carried:
        names |= {f"{name}_before": "const REAL*", f"{name}_after": "REAL*"}
    names |= {"n_steps": "int", "first_step": "long long", "until_kept": "int", "thinning": "int"}
    names |= {"k0": "unsigned", "k1": "unsigned", "chain_offset": "unsigned long long"}
    names |= {"states": "REAL*", "chain_stride": "long long", "kept_stride": "long long"}
    if program.reports:
        names |= {"energy_error": "REAL*", "accepted": "long long*", "diverging": "long long*"}
        names |= {"first_counted": "int"}
    if layout.is_team:
        names |= {"indices": "const int*", "memory": "REAL*", "n_numbers": "long long"}
    return names


def arguments_of(
    program: TransitionProgram, values: Mapping[str, Any], layout: Layout = CHAIN
) -> list[Any]:
    """The arguments of ``advance`` from their values by name."""
    return [
        _TYPES[type_](values[name]) if type_ in _TYPES else values[name]
        for name, type_ in parameters_of(program, layout).items()
    ]


def matrices_of(program: TransitionProgram) -> tuple[str, ...]:
    """The names of the matrices that a step multiplies by."""
    calls = (one for one in walk(program.statements) if isinstance(one, Call))
    return tuple(sorted({one.detail for one in calls if one.op == "matvec"}))


def has_trajectories(request: Request) -> bool:
    """Whether a step has a repetition that is not empty."""
    loops = (one for one in walk(request.program.statements) if isinstance(one, Loop))
    return any(_coefficient(request.program, one.count) not in request.zeros for one in loops)


def shared_numbers(request: Request, layout: Layout, held: int, steps_per_block: int) -> int:
    """How many numbers a block of a long layout has in shared memory.

    Parameters
    ----------
    request : Request
    layout : Layout
    held, steps_per_block : int
        Coordinates of a thread, and steps whose normals are drawn together.
    """
    program, each = request.program, 0
    if not has_trajectories(request):
        each += len(program.streams()) * (held * steps_per_block + 1)
    if layout.shares_state:
        starts = (program.start[name] for name in (*program.carried, *program.cached))
        each += sum(program.spaces[index] == Space.STATE for index in starts) * (held + 1)
    return WARP * each


def _coefficient(program: TransitionProgram, index: int) -> str:
    return program.coefficients[int(program.values[index].value)]


def print_advance(request: Request, layout: Layout) -> tuple[str, int]:
    """The kernel, and how many numbers of a coordinate it has in global memory."""
    asked = request.energy, request.varying, request.zeros, request.keeps
    key = request.program.digest, layout, asked
    if key not in _printed:
        printer = _Printer(request, layout)
        _printed[key] = printer.text(), printer.n_states
    return _printed[key]


_printed: dict[Any, tuple[str, int]] = {}  # printing takes longer than a short run


class _Printer:
    def __init__(self, request: Request, layout: Layout) -> None:
        self._request = request
        self._program = request.program
        self._layout = layout
        # Steps of a block are unrolled, their normals drawn together, unless a step is long.
        self._in_blocks = not has_trajectories(request)
        self._n_exchanges = 0  # of numbers between threads, in the statements printed
        self._names: dict[int, str] = {}
        self.n_states = 0  # numbers of a coordinate in global memory

    def text(self) -> str:
        program, layout = self._program, self._layout
        starts = {name: program.start[name] for name in (*program.carried, *program.cached)}
        before = [line for index in starts.values() for line in self._declared_before(index)]
        before += self._loaded(starts)
        before += self._constants()
        before += self._of_chains(wants_varying=False)
        before += self._prologue()
        if self._in_blocks:
            for stream in program.streams():
                if layout.is_team:
                    before += [self._in_memory(f"z_{stream}", _MOST_STEPS_PER_BLOCK)]
                elif layout.is_long:
                    before += _SHARED_NORMALS.format(stream=stream, threads=WARP).splitlines()
                else:
                    before += [f"REAL z_{stream}{self._length(Space.STATE)}[STEPS_PER_BLOCK];"]
        if program.reports:
            length = self._length(Space.CHAIN)
            before += [f"int n_{name}{length} = {{0}};" for name in ("accepted", "diverging")]
        step = self._step(starts)
        fill = self._filled_normals()
        in_blocks = _LONG_BLOCKS if layout.is_long else _IN_BLOCKS
        steps = _filled(in_blocks if self._in_blocks else _ONE_BY_ONE, fill=fill, step=step)
        parameters = parameters_of(program, layout).items()
        text = _filled(
            _ADVANCE,
            parameters=[", ".join(f"{type_} {name}" for name, type_ in parameters)],
            bounds=[layout.bounds],
            place=layout.place.splitlines(),
            before=before,
            first=[layout.first],
            steps=steps.splitlines(),
            after=self._stored(starts) + self._counts(),
            end=[layout.end],
        )
        return text.replace("STATES", str(self.n_states))

    def _declared_before(self, index: int) -> list[str]:
        """The variable, or array, of a value of the state before a step."""
        if not self._layout.shares_state or self._program.spaces[index] != Space.STATE:
            return [self._declared(index)]
        return _SHARED_STATE.format(variable=self._variable(index), threads=WARP).splitlines()

    # Names of values, and loops over coordinates.

    def _length(self, space: Space) -> str:
        """What declares a thread's numbers of a value as an array, if it has several."""
        if space not in self._layout.arrays:
            return ""
        return "[HELD]" if self._layout.has_several_coordinates else "[TILE]"

    def _at(self, space: Space) -> str:
        return self._layout.at if space in self._layout.arrays else ""

    def _variable(self, index: int) -> str:
        """The variable, or array, that holds a value between statements."""
        return self._names.get(index, f"a{index}")

    def _number(self, index: int) -> str:
        """One number of a value: where it is of coordinates, that of coordinate j."""
        one = self._program.values[index]
        if one.op == "vector" and self._layout.has_several_coordinates:
            return f"vectors[{one.value} * DIM + j]"
        return self._variable(index) + self._at(self._program.spaces[index])

    def _declared(self, index: int) -> str:
        space = self._program.spaces[index]
        if self._layout.is_team and space in self._layout.arrays:
            return self._in_memory(self._variable(index), 1)
        return f"REAL {self._variable(index)}{self._length(self._program.spaces[index])};"

    def _in_memory(self, name: str, states: int) -> str:
        """What declares so many numbers of each coordinate in global memory."""
        self.n_states += states
        return f"REAL* const {name} = own + {self.n_states - states} * DIM * WIDTH;"

    def _over(self, space: Space, lines: Sequence[str], times: str = "") -> list[str]:
        """Statements for each of a thread's numbers of a space, so many times in a row or all."""
        if space in self._layout.arrays and lines:
            times = times or ("2" if self._layout.is_team else "")
            head = f"#pragma unroll {times}".rstrip()
            return [head, self._layout.each, *_indented(lines), "}"]
        return ["{", *_indented(lines), "}"] if len(lines) > 1 else list(lines)

    @property
    def _if_there(self) -> str:
        """The condition that lets those numbers pass that have a place in memory."""
        return f"if ({self._layout.writable}) " if self._layout.writable else ""

    def _moved(self, pairs: Mapping[int, int]) -> list[str]:
        """Values that become others, by the numbers of these: all are read before one is set."""
        lines = []
        for space in dict.fromkeys(self._program.spaces[to] for to in pairs):
            some = {
                to: given
                for to, given in pairs.items()
                if self._program.spaces[to] == space and to != given
            }
            reads = [f"const REAL n{to} = {self._number(given)};" for to, given in some.items()]
            lines += self._over(space, [*reads, *(f"{self._number(to)} = n{to};" for to in some)])
        return lines

    # The parts of the kernel.

    def _loaded(self, starts: Mapping[str, int]) -> list[str]:
        readable = self._layout.readable
        lines = []
        for name in self._program.carried:
            place = self._number(starts[name])
            value = f"{name}_before[{self._layout.element}]"
            if readable:
                value = f"{readable} ? {value} : REAL(0)"
            lines.append(f"{place} = {value};")
        return self._over(Space.STATE, lines)

    def _filled_normals(self) -> list[str]:
        layout, lines = self._layout, list[str]()
        for stream in self._program.streams():
            number = int(noise.Stream[stream])
            if layout.is_team:
                place = f"z_{stream}[(p * DIM + j) * WIDTH]"
                text = _NORMALS_OF_A_TEAM.format(stream=number, place=place)
                lines += ["{", *_indented(text.splitlines()), "}"]
            else:
                place = f"z_{stream}{layout.at}"
                lines.append(
                    f"noise.fill({place}, {number}, block, (unsigned)j, {layout.own_chain});"
                )
        times = "1" if layout.is_team else "4" if layout.is_long else ""
        return self._over(Space.STATE, lines, times)

    def _coefficients(self, wants_varying: bool) -> Iterator[tuple[int, int]]:
        for index, one in enumerate(self._program.values):
            is_varying = _is_coefficient(one) and (
                self._program.coefficients[int(one.value)] in self._request.varying
            )
            if _is_coefficient(one) and is_varying == wants_varying:
                yield index, int(one.value)

    def _constants(self) -> list[str]:
        of_energy = "parameters, j" if self._request.energy == "quadratic" else "parameters"
        if self._layout.is_team and self._request.energy == "whole":
            of_energy = "parameters, indices, rest, member"
        return [
            f"const Uniform uniform({of_energy});",
            *(
                f"const REAL a{index} = coefficients[{row}];"
                for index, row in self._coefficients(False)
            ),
            *(
                f"const REAL a{index} = vectors[{one.value} * dim + j];"
                for index, one in enumerate(self._program.values)
                if one.op == "vector" and not self._layout.has_several_coordinates
            ),
        ]

    def _of_chains(self, *, wants_varying: bool) -> list[str]:
        """The chains' coefficients: of a step, or of all."""
        names, varying = self._program.chain_coefficients, self._request.varying
        rows, step = "1", "0"
        if not varying.isdisjoint(names):
            rows, step = "n_steps", "s" if wants_varying else "0"
        declared, loaded = [], []
        for index, one in enumerate(self._program.values):
            if one.op != "chain_coefficient":
                continue
            if (names[int(one.value)] in varying) == wants_varying:
                row = f"((long long){one.value} * {rows} + {step})"
                value = f"chain_coefficients[{row} * n_samples + {self._layout.own_chain}]"
                if self._layout.readable:
                    value = f"{self._layout.readable} ? {value} : REAL(0)"
                declared.append(self._declared(index))
                loaded.append(f"{self._number(index)} = {value};")
        return declared + self._over(Space.CHAIN, loaded)

    def _prologue(self) -> list[str]:
        program = self._program
        lines = self._lines(program.prologue)
        lines += self._moved(
            {program.start[name]: index for name, index in program.cached_at_start.items()}
        )
        if self._n_exchanges:
            lines.append("__syncthreads();")
        self._n_exchanges = 0
        if self._layout.is_shared and not self._in_blocks:
            lines.append("int turn = 0;")
        return lines

    def _step(self, starts: Mapping[str, int]) -> list[str]:
        program = self._program
        n = len(program.coefficients)
        lines = []
        if self._in_blocks and any(
            isinstance(one, Call) and one.op == "exponential" for one in program.statements
        ):
            lines.append("const long long t = first_step + s;")
        lines += [
            f"const REAL a{index} = coefficients[(long long)s * {n} + {row}];"
            for index, row in self._coefficients(True)
        ]
        lines += self._of_chains(wants_varying=True)
        lines += self._lines(program.statements, in_step=True)
        lines += self._reported()
        lines += self._moved({starts[name]: program.end[name] for name in starts})
        if self._request.keeps:
            lines += self._kept(starts["x"])
        n_exchanges = self._n_exchanges
        return [line.replace("EXCHANGES", str(n_exchanges)) for line in lines]

    def _reported(self) -> list[str]:
        if not self._program.reports:
            return []
        accepted, diverging = (
            self._number(self._program.reports[name]) for name in ("accepted", "diverging")
        )
        at = self._at(Space.CHAIN)
        return self._over(
            Space.CHAIN,
            [
                f"n_accepted{at} += (int)(s >= first_counted && {accepted} != REAL(0));",
                f"n_diverging{at} += (int)(s >= first_counted && {diverging} != REAL(0));",
            ],
        )

    def _kept(self, x: int) -> list[str]:
        place = "at[j]" if self._layout.has_several_coordinates else "*at"
        if self._layout.is_shared:
            place = "at[c * chain_stride]"
        lines = self._over(Space.STATE, [f"{self._if_there}{place} = {self._number(x)};"])
        if self._program.reports:
            error = self._number(self._program.reports["energy_error"])
            place = f"energy_error[number * n_samples + {self._layout.own_chain}]"
            lines += self._over(Space.CHAIN, [f"if ({self._layout.of_chain}) {place} = {error};"])
        return ["kept.step([&](REAL* at, long long number) {", *_indented(lines), "});"]

    def _stored(self, starts: Mapping[str, int]) -> list[str]:
        return self._over(
            Space.STATE,
            [
                f"{self._if_there}{name}_after[{self._layout.element}] = "
                f"{self._number(starts[name])};"
                for name in self._program.carried
            ],
        )

    def _counts(self) -> list[str]:
        if not self._program.reports:
            return []
        at, chain = self._at(Space.CHAIN), self._layout.own_chain
        return self._over(
            Space.CHAIN,
            [
                f"if ({self._layout.of_chain}) {name}[{chain}] += n_{name}{at};"
                for name in ("accepted", "diverging")
            ],
        )

    # Statements.

    def _lines(self, statements: Sequence[Statement], *, in_step: bool = False) -> list[str]:
        lines: list[str] = []
        for one in statements:
            match one:
                case Segment():
                    if in_step and self._layout.shares_state:
                        lines.append("read_memory_again();")  # else it all stays in registers
                    lines += self._segment(one)
                case Call():
                    lines += self._call(one, in_step=in_step)
                case Loop():
                    lines += self._loop(one)
        return lines

    def _segment(self, segment: Segment) -> list[str]:
        inside = segment_lines(self._program, segment, self._number, self._written)
        lines = [self._declared(index) for index in segment.outputs]
        return lines + self._over(segment.space, inside)

    def _written(self, index: int, args: Sequence[str]) -> str:
        one = self._program.values[index]
        if one.op == "perturb":
            scale = self._program.values[one.args[1]]
            name = self._program.coefficients[int(scale.value)] if _is_coefficient(scale) else ""
            if name in self._request.zeros:
                return args[0]
            if name and name not in self._request.varying:
                return expression("add", (args[0], expression("mul", args[1:])))
        return expression(one.op, args)

    def _call(self, call: Call, *, in_step: bool) -> list[str]:
        if call.op == "normal" and self._in_blocks and self._layout.is_team:
            self._names[call.results[0]] = f"(z_{call.detail} + position * (DIM * WIDTH))"
            return []
        lines = [self._declared(index) for index in call.results]
        match call.op:
            case "gradient":
                return lines + self._evaluated(call.args[0], None, call.results[0], in_step)
            case "value_and_gradient":
                energy, gradient = call.results
                return lines + self._evaluated(call.args[0], energy, gradient, in_step)
            case "total":
                given, out = self._variable(call.args[0]), self._variable(call.results[0])
                if self._layout.is_shared:
                    return [*lines, f"total({given}, {out}{self._row(in_step)});"]
                return [*lines, f"{out} = total({given}{self._row(in_step)});"]
            case "matvec":
                return lines + self._matvec(call, in_step)
            case "exponential":
                value = f"noise.exponential(t, {self._layout.own_chain})"
                return lines + self._over(
                    Space.CHAIN, [f"{self._number(call.results[0])} = {value};"]
                )
            case "normal" if self._in_blocks:
                value = f"z_{call.detail}{self._layout.at}[position]"
            case "normal":
                value = self._normal(call.detail, "t / STEPS_PER_BLOCK", "t % STEPS_PER_BLOCK")
            case _:
                number = self._variable(call.args[0])
                value = self._normal(
                    noise.Stream.SUBSTEP.name,
                    "t",
                    f"{number} % STEPS_PER_BLOCK",
                    f"(unsigned)({number} / STEPS_PER_BLOCK) << {noise.COORDINATE_BITS} | ",
                )
        return lines + self._over(Space.STATE, [f"{self._number(call.results[0])} = {value};"])

    def _normal(self, stream: str, block: str, position: str, high: str = "") -> str:
        return (
            f"noise.normal({int(noise.Stream[stream])}, (unsigned)({block}), (int)({position}), "
            f"{high}(unsigned)j, {self._layout.own_chain})"
        )

    def _row(self, in_step: bool) -> str:
        """Where threads hand each other numbers, as further arguments; the rows take turns."""
        if self._layout.is_team:
            return ", rest, member"
        if not self._layout.is_shared:
            return ""
        number = self._n_exchanges
        self._n_exchanges += 1
        if not in_step:
            turn = f"{number % 2}"
        elif self._in_blocks:
            turn = f"(position * EXCHANGES + {number}) % 2"
        else:
            turn = "turn ^= 1"
        return f", rows[{turn}] + own * (TILE * STRIDE), j"

    def _evaluated(self, x: int, energy: int | None, gradient: int, in_step: bool) -> list[str]:
        given, out = self._variable(x), self._variable(gradient)
        match self._request.energy:
            case "whole":
                lines = [f"gradient({given}, {out}, uniform);"]
                if energy is not None:
                    lines.append(f"{self._variable(energy)} = energy({given}, uniform);")
                return lines
            case "quadratic":
                return [f"gradient({given}, {out}, uniform{self._row(in_step)});"]
        lines = [f"{self._number(gradient)} = gradient({self._number(x)}, uniform);"]
        if energy is not None:
            lines.append(f"{self._number(energy)} = energy({self._number(x)}, uniform);")
        return self._over(Space.STATE, lines)

    def _matvec(self, call: Call, in_step: bool) -> list[str]:
        number = matrices_of(self._program).index(call.detail)
        given, out = (self._variable(index) for index in (*call.args, *call.results))
        matrix = f"vectors + {len(self._program.vectors)} * DIM + {number} * DIM * DIM"
        return [f"matvec({matrix}, {given}, {out}{self._row(in_step)});"]

    def _loop(self, loop: Loop) -> list[str]:
        self._names |= {
            result: self._variable(inside)
            for result, inside in zip(loop.results, loop.inside, strict=True)
        }
        lines = [self._declared(index) for index in loop.inside]
        lines += self._moved(dict(zip(loop.inside, loop.before, strict=True)))
        if _coefficient(self._program, loop.count) in self._request.zeros:
            return lines
        number = self._variable(loop.index)
        body = self._lines(loop.body, in_step=True)
        body += self._moved(dict(zip(loop.inside, loop.after, strict=True)))
        count = f"(int){self._variable(loop.count)}"
        return [
            *lines,
            "#pragma unroll 1",
            f"for (int {number} = 0, count = {count}; {number} < count; ++{number}) {{",
            *_indented(body),
            "}",
        ]


def _is_coefficient(one: Any) -> bool:
    return bool(one.op == "coefficient")


def _indented(lines: Sequence[str]) -> list[str]:
    return [line if line.startswith("#") else f"    {line}" for line in lines]


def _filled(template: str, **parts: Sequence[str]) -> str:
    """The template, with each part's lines where its name stands, as far to the right."""
    lines = []
    for line in template.format(**{name: f"\0{name}\0" for name in parts}).splitlines():
        head, found, rest = line.partition("\0")
        if not found:
            lines.append(line)
            continue
        name, _, tail = rest.partition("\0")
        if head.strip() or tail.strip():
            lines.append(head + "".join(parts[name]) + tail)
        else:
            lines += [head + one if not one.startswith("#") else one for one in parts[name]]
    return "\n".join([*lines, ""])
