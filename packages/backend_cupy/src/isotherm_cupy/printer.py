"""Programs printed as CUDA C++, in their own order of operations, each rounded to nearest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from isotherm.backend import COMPARISONS, Program, Segment, TransitionProgram

_FUNCTIONS = {"add": "add", "sub": "sub", "mul": "mul", "div": "quotient", "sqrt": "root"}
_FUNCTIONS |= {"abs": "fabs"}
_FUNCTIONS |= {op: f"functions::{op}" for op in ("exp", "log", "sin", "cos", "tanh")}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


def print_program(program: Program, *, is_for_teams: bool = False) -> str:
    """The struct ``Uniform`` and the functions ``gradient`` and ``energy`` of a program.

    ``Uniform`` holds what depends on no coordinate, computed once a thread from the parameters. An
    elementwise program's functions take one coordinate and return a number; those of a whole state
    take a pointer to it, and ``gradient`` one to where it writes. For teams (``cuda/team.cuh``)
    coordinates are WIDTH numbers apart.
    """
    key = program.digest, is_for_teams
    if key not in _printed:
        printer = _Printer(program, is_for_teams=is_for_teams)
        lines = [*printer.uniform(), *printer.gradient(), *printer.energy(), ""]
        _printed[key] = "\n".join(lines)
    return _printed[key]


_printed: dict[tuple[str, bool], str] = {}  # printing takes longer than a short run


class _Printer:
    def __init__(self, program: Program, *, is_for_teams: bool) -> None:
        self._program = program
        self._is_for_teams = is_for_teams
        self._is_elementwise = program.dim is None
        wanted = program.needed((*program.gradient, program.energy))
        self._held = [
            i
            for i in wanted
            if i in program.uniform and program.instructions[i].op not in ("const", "stop")
        ]

    def uniform(self) -> list[str]:
        members = [f"    {self._type(i)} v{i};" for i in self._held]
        values = [f"        v{i} = {self._expression(i, inside=True)};" for i in self._held]
        # A team's are given what only arrays need, too.
        more = ", const int*, REAL*, int" if self._is_for_teams else ""
        head = f"    __device__ __forceinline__ explicit Uniform(const REAL* parameters{more}) {{"
        return ["struct Uniform {", *members, head, *values, "    }", "};"]

    def gradient(self) -> list[str]:
        outputs = self._program.gradient
        if self._is_elementwise:
            head = "REAL gradient(REAL x, const Uniform& uniform)"
            return self._function(head, outputs, [f"return {self._name(outputs[0])};"])
        head = "void gradient(const REAL* x, REAL* out, const Uniform& uniform)"
        # All are read before one is written, so that x and out may be the same.
        writes = [f"out[{self._at(j)}] = {self._name(value)};" for j, value in enumerate(outputs)]
        return self._function(head, outputs, writes)

    def energy(self) -> list[str]:
        state = "REAL x" if self._is_elementwise else "const REAL* x"
        head = f"REAL energy({state}, const Uniform& uniform)"
        value = self._program.energy
        return self._function(head, (value,), [f"return {self._name(value)};"])

    def _function(self, head: str, outputs: Sequence[int], tail: Sequence[str]) -> list[str]:
        lines = [
            f"    const {self._type(i)} v{i} = {self._expression(i)};"
            for i in self._program.needed(outputs)
            if i not in self._program.uniform
        ]
        tail = [f"    {line}" for line in tail]
        return [f"__device__ __forceinline__ {head} {{", *lines, *tail, "}"]

    def _type(self, index: int) -> str:
        return "bool" if self._program.instructions[index].op in COMPARISONS else "REAL"

    def _name(self, index: int, *, inside: bool = False) -> str:
        instruction = self._program.instructions[index]
        if instruction.op == "const":
            return constant(instruction.value)
        if instruction.op == "stop" and index in self._program.uniform:
            return self._name(instruction.args[0], inside=inside)
        is_held = index in self._program.uniform and not inside
        return f"uniform.v{index}" if is_held else f"v{index}"

    def _expression(self, index: int, *, inside: bool = False) -> str:
        instruction = self._program.instructions[index]
        op, value = instruction.op, instruction.value
        args = [self._name(arg, inside=inside) for arg in instruction.args]
        match op:
            case "parameter":
                return f"parameters[{value}]"
            case "coordinate":
                return "x" if self._is_elementwise else f"x[{self._at(value)}]"
        return expression(op, args)

    def _at(self, coordinate: int) -> str:
        return f"{coordinate} * WIDTH" if self._is_for_teams else f"{coordinate}"


def segment_lines(
    program: TransitionProgram,
    segment: Segment,
    place: Callable[[int], str],
    written: Callable[[int, Sequence[str]], str] | None = None,
) -> list[str]:
    """The statements of a segment, for one number of its space.

    Parameters
    ----------
    program : TransitionProgram
    segment : Segment
    place : callable
        Where the number of a value from outside is read, and that of an output written.
    written : callable, optional
        The operation of a value with its arguments' names, where some are written in another way.
    """
    lines, own = [], set[int]()
    for index in segment.body:
        one = program.values[index]
        args = [
            f"v{arg}"
            if arg in own
            else constant(program.values[arg].value)
            if program.values[arg].op == "const"
            else place(arg)
            for arg in one.args
        ]
        value = expression(one.op, args) if written is None else written(index, args)
        lines.append(f"const {'bool' if one.op in COMPARISONS else 'REAL'} v{index} = {value};")
        own.add(index)
    return lines + [f"{place(index)} = v{index};" for index in segment.outputs]


def expression(op: str, args: Sequence[str]) -> str:
    """An elementwise operation."""
    if op in _COMPARISONS:
        return f"{args[0]} {_COMPARISONS[op]} {args[1]}"
    match op:
        case "neg":
            return f"-{args[0]}"
        case "stop":
            return args[0]
        case "where":
            return f"{args[0]} ? {args[1]} : {args[2]}"
        case "min":
            return f"{args[0]} < {args[1]} ? {args[0]} : {args[1]}"
        case "max":
            return f"{args[0]} > {args[1]} ? {args[0]} : {args[1]}"
        case "perturb":
            return f"{args[1]} != REAL(0) ? add({args[0]}, mul({args[1]}, {args[2]})) : {args[0]}"
    return f"{_FUNCTIONS.get(op, op)}({', '.join(args)})"


def constant(value: float) -> str:
    """A number as it is written: exactly."""
    if math.isfinite(value):
        return f"REAL({value!r})"
    numerator = 0 if math.isnan(value) else math.copysign(1, value)
    return f"(REAL({numerator}) / REAL(0))"
