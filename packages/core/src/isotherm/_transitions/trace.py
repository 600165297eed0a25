"""From a plain Python function to a transition's program: it is called once with symbols.

The words that a transition is written with are here: `evaluate`, `total`, `repeat`, `perturb`,
`energy_error`, and those for the inverse mass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from isotherm._arithmetic.noise import Stream
from isotherm._programs.program import COMPARISONS, Builder, Instruction
from isotherm._programs.symbols import Symbol
from isotherm._transitions.program import (
    Call,
    Kind,
    Loop,
    Mass,
    Segment,
    Space,
    Statement,
    TransitionProgram,
    Variant,
)
from isotherm.errors import FormulaError, short_repr

#: What an operation that is traced leaves behind: a value, a call, or a loop with what is in it.
_Event: TypeAlias = "int | Call | _OpenLoop"

_LEAVES = ("const", "coefficient", "chain_coefficient", "vector", "state", "variable")
_DRAWS = ("normal", "substep_normal", "exponential")
_CACHED = ("energy", "gradient")


@dataclass(frozen=True)
class _OpenLoop:
    """A loop whose body is not yet cut into segments."""

    loop: Loop
    events: list[_Event]


class TransitionBuilder(Builder):
    """Writes down what is done to symbols; equal operations are shared, none simplified."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.spaces: list[Space] = []
        self.coefficients: list[str] = []
        self.chain_coefficients: list[str] = []
        self.vectors: list[str] = []
        self.events: list[_Event] = []
        self._serial = 0

    def emit(self, op: str, *args: int) -> int:
        """The value of an elementwise operation."""
        space = Space.STEP
        for arg in args:
            space |= self.spaces[arg]
        known = len(self.instructions)
        index = self.add(Instruction(op, args), space)
        if index == known:
            self.events.append(index)
        return index

    def const(self, value: float) -> int:
        return self.add(Instruction("const", (), float(value)), Space.STEP)

    def add(self, instruction: Instruction, space: Space) -> int:
        """The value of an instruction, each once."""
        index = self.write(instruction)
        if index == len(self.spaces):
            self.spaces.append(space)
        return index

    def new(self, op: str, args: Sequence[int], space: Space) -> int:
        """A value that is not shared."""
        self._serial += 1
        return self.add(Instruction(op, tuple(args), self._serial), space)

    def named(self, op: str, names: list[str], name: str, space: Space) -> Symbol:
        """The symbol of a step's, a chain's or a coordinate's number by its name."""
        if name not in names:
            names.append(name)
        return Symbol(self, self.add(Instruction(op, (), names.index(name)), space))

    def call(
        self, op: str, args: Sequence[int], spaces: Sequence[Space], detail: str = ""
    ) -> list[Symbol]:
        """The symbols of what an operation gives that is not elementwise."""
        results = [self.new(op, args, space) for space in spaces]
        self.events.append(Call(op, tuple(args), tuple(results), detail))
        return [Symbol(self, result) for result in results]

    def scoped(self, body: Callable[[], Sequence[Symbol]]) -> tuple[list[_Event], Sequence[Symbol]]:
        """What a function leaves; later operations share nothing with it."""
        outer, known = self.events, dict(self._known)
        self.events = []
        results = body()
        inner, self.events, self._known = self.events, outer, known
        return inner, results


@dataclass(frozen=True)
class State:
    """The symbols of a state; names are those of the transition's parts."""

    parts: Mapping[str, Symbol]

    def __getattr__(self, name: str) -> Symbol:
        try:
            return self.parts[name]
        except KeyError:
            raise FormulaError(
                f"the state has no {name!r}; it has {', '.join(self.parts)}"
            ) from None

    @property
    def point(self) -> Point:
        """The state's x with what is cached of it."""
        return Point(self.x, self.parts["gradient"], self.parts.get("energy"))


class Point(NamedTuple):
    """A state with its gradient, and its energy where differences are made from energies."""

    x: Symbol
    gradient: Symbol
    energy: Symbol | None


class Coefficients:
    """The numbers of a step, by their names: attributes; those of each coordinate: `vector`.

    Where each chain has a noise scale, what is made of it is a number a chain.
    """

    def __init__(self, builder: TransitionBuilder) -> None:
        self._builder = builder
        self.variant = builder.variant

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("_"):
            raise AttributeError(name)
        builder = self._builder
        if name in self.variant.chain_coefficients:
            names = builder.chain_coefficients
            return builder.named("chain_coefficient", names, name, Space.CHAIN)
        return builder.named("coefficient", builder.coefficients, name, Space.STEP)

    def vector(self, name: str) -> Symbol:
        """One number a coordinate."""
        return self._builder.named("vector", self._builder.vectors, name, Space.COORDINATE)


class Draw:
    """Noise of the step, by its stream (see `isotherm.backend.noise`)."""

    def __init__(self, builder: TransitionBuilder) -> None:
        self._builder = builder

    def normal(self, stream: Stream) -> Symbol:
        """One standard normal a coordinate."""
        (z,) = self._builder.call("normal", (), (Space.STATE,), stream.name)
        return z

    def substep_normal(self, pass_: Symbol) -> Symbol:
        """One standard normal a coordinate, of a pass of a repetition."""
        if self._builder.instructions[pass_.index].op != "variable":
            raise FormulaError("substep_normal() takes the number of the pass that repeat() gives")
        (z,) = self._builder.call("substep_normal", (pass_.index,), (Space.STATE,))
        return z

    def exponential(self) -> Symbol:
        """One number a chain, -ln u of the accept stream: standard exponential."""
        (e,) = self._builder.call("exponential", (), (Space.CHAIN,))
        return e


def evaluate(x: Symbol, *, with_energy: bool = True) -> Point:
    """The gradient at x, and the energy where differences are made from energies."""
    builder = _builder(x)
    kind = builder.variant.kind
    if not with_energy or kind == Kind.QUADRATIC:
        (gradient,) = builder.call("gradient", (x.index,), (Space.STATE,))
        return Point(x, gradient, None)
    of_energy = Space.STATE if kind == Kind.TERMS else Space.CHAIN
    energy, gradient = builder.call("value_and_gradient", (x.index,), (of_energy, Space.STATE))
    return Point(x, gradient, energy)


def gradient(x: Symbol) -> Symbol:
    """∇U at x."""
    return evaluate(x, with_energy=False).gradient


def total(values: Symbol) -> Symbol:
    """The sum over a chain's coordinates, in the order of `isotherm._arithmetic.sums.total`."""
    (result,) = _builder(values).call("total", (values.index,), (Space.CHAIN,))
    return result


def energy_error(start: Point, end: Point, kinetic: Symbol) -> Symbol:
    """U(end) - U(start) plus the total of what the kinetic energy gained at each coordinate.

    Differences are taken coordinate by coordinate, which loses no digits: of the terms of U, or of
    a quadratic form, for which ½ (x' - x)·(g' + g) is exact. A program of the whole state has only
    its U.
    """
    builder = _builder(kinetic)
    if builder.variant.kind == Kind.QUADRATIC:
        work = 0.5 * ((end.x - start.x) * (end.gradient + start.gradient))
        return total(work + kinetic)
    assert start.energy is not None
    assert end.energy is not None
    if builder.variant.kind == Kind.TERMS:
        return total((end.energy - start.energy) + kinetic)
    return (end.energy - start.energy) + total(kinetic)


def perturb(value: Symbol, scale: Symbol, noise: Symbol) -> Symbol:
    """value + scale·noise; value itself where the scale is 0."""
    return value.apply("perturb", value, scale, noise)


def where(condition: Symbol, a: Any, b: Any) -> Symbol:
    """`a` where the condition holds, `b` elsewhere."""
    return condition.apply("where", condition, a, b)


def repeat(
    count: Symbol, body: Callable[..., Sequence[Symbol]], *variables: Symbol
) -> tuple[Symbol, ...]:
    """The variables after ``variables = body(pass, *variables)``, so many times.

    Parameters
    ----------
    count : Symbol
        A coefficient.
    body : callable
        Called once, with symbols.
    *variables : Symbol
    """
    builder = _builder(count)
    if builder.instructions[count.index].op != "coefficient":
        raise FormulaError("the number of passes of repeat() must be a coefficient")
    number = Symbol(builder, builder.new("variable", (), Space.STEP))
    inside = [
        Symbol(builder, builder.new("variable", (), builder.spaces[one.index])) for one in variables
    ]
    events, after = builder.scoped(lambda: tuple(body(number, *inside)))
    if len(after) != len(inside):
        raise FormulaError(
            f"the body of repeat() returned {len(after)} values for {len(inside)} variables"
        )
    before = tuple(one.index for one in variables)
    ends = tuple(one.index for one in after)
    results = tuple(
        builder.new("loop", (*before, *ends, count.index), builder.spaces[one.index])
        for one in variables
    )
    loop = Loop(
        count.index, number.index, before, tuple(one.index for one in inside), ends, results, ()
    )
    builder.events.append(_OpenLoop(loop, events))
    return tuple(Symbol(builder, result) for result in results)


def inverse_mass(c: Coefficients, values: Symbol) -> Symbol:
    """M⁻¹ times the values: a momentum's velocity."""
    return _of_mass(c, "inverse_mass", values)


def mass_root(c: Coefficients, values: Symbol) -> Symbol:
    """A root of M times the values: normals become momenta of covariance M."""
    return _of_mass(c, "mass_root", values)


def inverse_mass_root(c: Coefficients, values: Symbol) -> Symbol:
    """A root of M⁻¹ times the values."""
    return _of_mass(c, "inverse_mass_root", values)


def _of_mass(c: Coefficients, name: str, values: Symbol) -> Symbol:
    match c.variant.mass:
        case Mass.UNIT:
            return values
        case Mass.VECTOR:
            return c.vector(name) * values
    (result,) = _builder(values).call("matvec", (values.index,), (Space.STATE,), name)
    return result


def _builder(symbol: Symbol) -> TransitionBuilder:
    builder = symbol.builder
    if not isinstance(builder, TransitionBuilder):
        raise FormulaError(f"{short_repr(symbol)} is not a symbol of a transition")
    return builder


#: float64 numbers, one a step or one for all; with two axes, one row a chain.
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Schedules:
    """What a plan says of some steps, from which coefficients are made.

    Attributes
    ----------
    steps : int64 array, shape (n_steps,)
        Their numbers in the noise stream.
    values : mapping of str to float64 array, shape (n_steps,) or ()
        The plan's schedules and numbers, by their names. A noise scale a chain has the shape
        (n_samples, 1), and so is broadcast beside the steps.
    """

    steps: np.ndarray[Any, np.dtype[np.int64]]
    values: Mapping[str, Numbers]

    def __getattr__(self, name: str) -> Numbers:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.values[name]
        except KeyError:
            raise FormulaError(
                f"a plan of this sampler has no {name!r}; it has {', '.join(self.values)}"
            ) from None


#: (state, coefficients, draw) → the parts of the next state, and what is to be reported.
StepFunction: TypeAlias = Callable[
    [State, Coefficients, Draw], "tuple[Mapping[str, Symbol], Mapping[str, Symbol]]"
]


@dataclass(frozen=True)
class Transition:
    """How a sampler's state goes from one step to the next.

    Attributes
    ----------
    name : str
    function : callable
        (state, c, draw) → the next state's parts by name, and reports by name.
    coefficients : callable
        The numbers of some steps, in float64, from the plan's `Schedules`: by their names, shape
        (n_steps,) or (), and with two axes where the noise scale has them. They are rounded once,
        to the dtype of the state.
    carried : tuple of str
        Parts of the state that a step needs: ``"x"``, and ``"momentum"`` where there is one.
    cached : tuple of str
        Of ``"energy"`` and ``"gradient"``: what a step hands to the next one, and is computed from
        x where a run begins or is gone on with.
    arguments : mapping of str to anything
        What of ``friction``, ``n_leapfrog``, ``jitter``, ``clamp``, ``bounds``,
        ``gradient_clip``, ``gradient_clip_norm`` and ``divergence_threshold`` the sampler takes,
        with defaults; and a default of ``step_size``, if there is one. Every sampler takes a step
        size, a noise scale and an inverse mass.
    is_adjusted : bool
        Whether a step ends in a Metropolis decision. It then reports ``"energy_error"``,
        ``"accepted"`` and ``"diverging"``.
    bias_order : int or None
        The power of the step size with which the law's bias grows, of one that is not adjusted;
        None where it is not known.
    """

    name: str
    function: StepFunction
    coefficients: Callable[[Schedules], Mapping[str, Numbers]]
    carried: tuple[str, ...] = ("x",)
    cached: tuple[str, ...] = ()
    is_adjusted: bool = False
    bias_order: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False)
    _programs: dict[Variant, TransitionProgram] = field(
        default_factory=dict, repr=False, compare=False
    )

    def program(self, variant: Variant | None = None) -> TransitionProgram:
        """The program of a step."""
        variant = variant or Variant()
        if variant not in self._programs:
            self._programs[variant] = _trace(self, variant)
        return self._programs[variant]


def _trace(transition: Transition, variant: Variant) -> TransitionProgram:
    builder = TransitionBuilder(variant)
    cached = tuple(
        name for name in transition.cached if name != "energy" or variant.kind != Kind.QUADRATIC
    )
    unknown = set(cached) - set(_CACHED)
    if unknown:
        raise FormulaError(f"only {' and '.join(_CACHED)} can be cached, not {unknown}")
    of_energy = Space.STATE if variant.kind == Kind.TERMS else Space.CHAIN
    parts = {
        name: Symbol(
            builder,
            builder.add(
                Instruction("state", (), number), of_energy if name == "energy" else Space.STATE
            ),
        )
        for number, name in enumerate((*transition.carried, *cached))
    }

    def prologue() -> Sequence[Symbol]:
        if not cached:
            return ()
        point = evaluate(parts["x"], with_energy="energy" in cached)
        return [getattr(point, name) for name in cached]

    before, at_start = builder.scoped(prologue)
    end, reports = transition.function(State(parts), Coefficients(builder), Draw(builder))
    wanted = (*transition.carried, *cached)
    missing = [name for name in wanted if name not in end]
    if missing:
        raise FormulaError(f"{transition.name} does not return {', '.join(missing)}")
    ends = {name: end[name].index for name in wanted}
    indices = {name: one.index for name, one in reports.items()}
    roots = [*ends.values(), *indices.values()]
    return TransitionProgram(
        name=transition.name,
        carried=transition.carried,
        cached=cached,
        coefficients=tuple(builder.coefficients),
        chain_coefficients=tuple(builder.chain_coefficients),
        vectors=tuple(builder.vectors),
        values=tuple(builder.instructions),
        spaces=tuple(builder.spaces),
        prologue=_statements(builder, before, [one.index for one in at_start]),
        statements=_statements(builder, builder.events, roots),
        start={name: one.index for name, one in parts.items()},
        end=ends,
        cached_at_start={name: one.index for name, one in zip(cached, at_start, strict=True)},
        reports=indices,
    )


def _statements(
    builder: TransitionBuilder, events: Sequence[_Event], roots: Iterable[int]
) -> tuple[Statement, ...]:
    """The events, cut into segments; without what nothing needs."""
    needed = _needed(builder, roots)
    cut = _cut(builder, events, needed)
    outside = _taken_outside(builder, cut, set(roots))
    return _with_ends(builder, cut, outside)


def _needed(builder: TransitionBuilder, roots: Iterable[int]) -> set[int]:
    pending, found = list(roots), set[int]()
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(builder.instructions[index].args)
    return found


def _cut(builder: TransitionBuilder, events: Sequence[_Event], needed: set[int]) -> list[Statement]:
    """Statements whose segments have only their bodies yet.

    A draw takes nothing from the segment before it, and so does not end it.
    """
    statements: list[Statement] = []
    body: list[int] = []

    def close() -> None:
        if body:
            space = builder.spaces[body[0]]
            statements.append(Segment(space, _with_uniform(builder, body), (), ()))
            body.clear()

    for event in events:
        if isinstance(event, int):
            space = builder.spaces[event]
            if event not in needed or space not in (Space.STATE, Space.CHAIN):
                continue  # what is no chain's own is computed by each segment that takes it
            if body and builder.spaces[body[0]] != space:
                close()
            body.append(event)
        elif isinstance(event, Call):
            if not needed.intersection(event.results):
                continue
            if event.op not in _DRAWS:
                close()
            statements.append(_guarded(builder, event))
        elif needed.intersection(event.loop.results):
            close()
            statements.append(replace(event.loop, body=tuple(_cut(builder, event.events, needed))))
    close()
    return statements


def _with_uniform(builder: TransitionBuilder, body: Sequence[int]) -> tuple[int, ...]:
    """The body with what it takes of values that are no chain's own, and of conditions, in order.

    So no segment hands a condition to another.
    """
    found, pending = set(body), list(body)
    while pending:
        for arg in builder.instructions[pending.pop()].args:
            op = builder.instructions[arg].op
            is_own = builder.spaces[arg] in (Space.STEP, Space.COORDINATE) or op in COMPARISONS
            if arg not in found and is_own and op not in _LEAVES:
                found.add(arg)
                pending.append(arg)
    return tuple(sorted(found))


def _guarded(builder: TransitionBuilder, call: Call) -> Call:
    """The call with the coefficient without which its noise is not used, if there is one."""
    if call.op != "normal":
        return call
    (result,) = call.results
    users = [one for one in builder.instructions if result in one.args]
    if len(users) == 1 and users[0].op == "perturb" and users[0].args[2] == result:
        scale = users[0].args[1]
        if builder.instructions[scale].op == "coefficient":
            return replace(call, guard=scale)
    return call


def _taken_outside(
    builder: TransitionBuilder, statements: Iterable[Statement], taken: set[int]
) -> set[int]:
    """Values that are taken by something else than the segment that computes them."""
    for one in statements:
        match one:
            case Segment():
                own = set(one.body)
                for index in one.body:
                    taken.update(a for a in builder.instructions[index].args if a not in own)
            case Call():
                taken.update(one.args)
            case Loop():
                taken.update((*one.before, *one.after))
                _taken_outside(builder, one.body, taken)
    return taken


def _with_ends(
    builder: TransitionBuilder, statements: Iterable[Statement], outside: set[int]
) -> tuple[Statement, ...]:
    finished: list[Statement] = []
    for one in statements:
        match one:
            case Segment():
                own = set(one.body)
                inputs = {
                    a
                    for index in one.body
                    for a in builder.instructions[index].args
                    if a not in own and builder.instructions[a].op != "const"
                }
                outputs = [
                    index
                    for index in one.body
                    if index in outside
                    and builder.spaces[index] == one.space
                    and builder.instructions[index].op not in COMPARISONS
                ]
                finished.append(replace(one, inputs=tuple(sorted(inputs)), outputs=tuple(outputs)))
            case Loop():
                finished.append(replace(one, body=_with_ends(builder, one.body, outside)))
            case _:
                finished.append(one)
    return tuple(finished)
