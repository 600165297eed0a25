"""A transition printed as the loop that steps tiles of chains: Python for Numba.

One module for a program and a dtype. Its function ``advance`` takes the steps, tile by tile, and
calls a function for each segment, `isotherm_numba.tiles` for what is no segment, and the energy by
address. The names of its arguments stand once, in `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from numba import types

from isotherm.backend import Call, Loop, Segment, Space, Statement, TransitionProgram, noise, walk
from isotherm_numba.kernel_calls import array_type, number_type
from isotherm_numba.printer import print_module, print_segment, segment_arguments
from isotherm_numba.storage import Copy, Storage

# Values of a space lie in a tile's rows at these places; a chain's as in the row of a coordinate.
_LANES = {Space.STATE: "lane", Space.COORDINATE: "lane", Space.CHAIN: "u64(i)"}
# Rows of lanes, how far apart they are, and how many lanes of each: every lane of a tile; the same
# where numbers of chains are needed, too; numbers of chains alone.
_ALL = "tile.runs, stride, tile.width"
_BY_ROWS = "dim, stride, tile.n"
_OF_CHAINS = "1, stride, tile.n"

# The streams of noise that is no stream's by its call.
_STREAMS = {"exponential": "ACCEPT", "substep_normal": "SUBSTEP"}

# Numbers that are arguments are made i64 or u64: a literal is a type of its own to Numba, for which
# what is called would be compiled once more.
_ADVANCE = """\
@kept(driver.signature("{dtype}", {carried!r}))
def advance({arguments}):
    dim, n_steps = x_before.shape[1], kept.size
    tile = tiles.tile_of(first, last, chains, dim, by_coordinate, is_elementwise)
    stride = tile.stride
    size = dim * stride if by_coordinate else stride
    {rows_of_values}
    scratch, of_terms = tiles.row_of(size, number), tiles.row_of(size, number)
    words = np.empty((4, noise.LANES), np.uint32)
    coordinate, low = np.empty(size, np.uint32), np.empty(size, np.uint32)
    {memory}
    # Of each kept state the nodes of the chains' tree that wait to be joined, and where they start.
    depth, nodes, nodes_before = sums.stack_depth(last - first), i64(0), i64(0)
    means = np.empty((mean.shape[0], depth, dim), np.float64)
    variances = np.empty((mean.shape[0], depth, dim), np.float64)
    starts, starts_before = np.empty(depth, np.uint64), np.empty(depth, np.uint64)
    wide = np.empty(chains * dim, np.float64)
    for start in range(first, last, chains):
        tile = tiles.tile_of(start, last, chains, dim, by_coordinate, is_elementwise)
        m = tile.m
        tiles.number_lanes(coordinate, low, chain_offset, tile)
        {numbered}
        {before_steps}
        for s in range(n_steps):
            t = first_step + s
            {step}
            k = kept[s]
            if k < 0:
                continue
            if trajectory.size:
                tiles.store({x}, trajectory[:, k], tile)
            {keep}
            if energy.size:
                {terms_of_x}
                sums.totals(
                    of_terms, wide, energy[k, start : start + m], dim if has_terms else 1, m,
                    tile.across, tile.along,
                )
            if means.size:
                nodes = sums.add_chains(
                    means[k], variances[k], starts, starts_before, nodes_before, {x}, m,
                    chain_offset + u64(start), tile.across, tile.along,
                )
        {after_steps}
        starts, starts_before, nodes_before = starts_before, starts, nodes
    for k in range(mean.shape[0]):
        sums.join_all(
            means[k], variances[k], starts, starts_before, nodes, chain_offset + u64(last),
            mean[k], variance[k],
        )
"""


@cache
def arguments(dtype: str, carried: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of ``advance``, with their types.

    ``gradient``, ``terms``
        Addresses of the energy's functions; see `isotherm_numba.tiles`.
    ``is_elementwise``, ``has_terms``
        Whether they take any lanes; whether ``terms`` gives one term a coordinate.
    ``by_coordinate``, ``chains``
        The layout of a tile, and how many chains it has.
    ``parameters``, ``coefficients``, ``vectors``
        The energy's; a row of numbers for each coefficient, one a step; the transition's vectors
        and matrices, one after another.
    ``chain_coefficients``
        For each of them a row a step, or one for all, of a number a chain.
    ``x_before``, ``x_after``, ...
        What is carried, shape (n_samples, dim) each.
    ``kept``
        Which kept state each step gives, or -1.
    ``trajectory``, ``energy``, ``energy_error``, ``accepted``, ``diverging``
        As in `isotherm.backend.Outputs`, or empty.
    ``k0``, ``k1``, ``chain_offset``, ``first_step``
        Where in the noise stream.
    ``first_counted``
        The first step that counts for ``accepted`` and ``diverging``.
    ``mean``, ``variance``, ``first``, ``last``
        The chains first..last-1 are stepped; the moments over them alone, or empty.
    """
    number = number_type(dtype)
    row, states = array_type(number, 1, readonly=True), array_type(number, 2, readonly=True)
    return {
        "gradient": types.uint64,
        "terms": types.uint64,
        "is_elementwise": types.boolean,
        "has_terms": types.boolean,
        "by_coordinate": types.boolean,
        "chains": types.int64,
        "parameters": row,
        "coefficients": states,
        "chain_coefficients": array_type(number, 3, readonly=True),
        "vectors": row,
        **{f"{name}_before": states for name in carried},
        **{f"{name}_after": array_type(number, 2) for name in carried},
        "kept": array_type(types.int64, 1),
        "trajectory": array_type(number, 3, "A"),
        "energy": array_type(number, 2, "A"),
        "energy_error": array_type(number, 2, "A"),
        "accepted": array_type(types.int64, 1, "A"),
        "diverging": array_type(types.int64, 1, "A"),
        "k0": types.uint64,
        "k1": types.uint64,
        "chain_offset": types.uint64,
        "first_step": types.int64,
        "first_counted": types.int64,
        "mean": array_type(types.float64, 2),
        "variance": array_type(types.float64, 2),
        "first": types.int64,
        "last": types.int64,
    }


def signature(dtype: str, carried: tuple[str, ...]) -> Any:
    """The types of the arguments of ``advance``."""
    return types.void(*arguments(dtype, carried).values())


def vectors_of(program: TransitionProgram) -> tuple[str, ...]:
    """The names of a transition's vectors, and then of its matrices, as ``advance`` takes them."""
    calls = (one for one in walk(program.statements) if isinstance(one, Call))
    matrices = sorted({one.detail for one in calls if one.op == "matvec"})
    return (*program.vectors, *matrices)


def print_driver(program: TransitionProgram, dtype: str) -> str:
    """The module of a transition."""
    return _Driver(program, dtype).text()


class _Driver:
    """What is found out about a program while its module is printed."""

    def __init__(self, program: TransitionProgram, dtype: str) -> None:
        # What is spread over a tile's lanes is read there, be it a coordinate's or a chain's.
        spaces = (
            Space.COORDINATE if one.op == "chain_coefficient" else space
            for one, space in zip(program.values, program.spaces, strict=True)
        )
        self._program = program = replace(program, spaces=tuple(spaces))
        self._dtype = dtype
        self._storage = Storage(program)
        self._per_block = noise.steps_per_block(dtype)
        self._functions: list[str] = []
        self._calls = [one for one in walk(program.statements) if isinstance(one, Call)]
        streams = {
            one.results[0]: noise.Stream[_STREAMS.get(one.op, one.detail)]
            for one in self._calls
            if one.op in ("normal", *_STREAMS)
        }
        self._noise = {index: self._storage.places[index] for index in streams}
        self._streams = dict.fromkeys(streams.values())

    def text(self) -> str:
        program, storage = self._program, self._storage
        before_steps = [
            f"tiles.load({name}_before, {storage.homes[name]}, tile)" for name in program.carried
        ]
        before_steps += self._of_chains("0")
        before_steps += self._lines(program.prologue)
        step = [
            f"v{index} = coefficients[{int(one.value)}, s]"
            for index, one in enumerate(program.values)
            if one.op == "coefficient"
        ]
        varying = _indented(self._of_chains("s"))
        step += ["if chain_coefficients.shape[1] > 1:", *varying] if varying else []
        step += self._block_of_normals()
        step += self._lines(program.statements)
        step += self._copied(storage.at_end)
        advance = _filled(
            _ADVANCE,
            dtype=self._dtype,
            carried=program.carried,
            arguments=", ".join(arguments(self._dtype, program.carried)),
            rows_of_values=self._rows(),
            numbered=[
                f"tiles.number_stream(high_{one.name}, i64({int(one)}), chain_offset, tile)"
                for one in self._streams
            ],
            before_steps=before_steps,
            step=step + self._counted(),
            keep=self._kept(),
            after_steps=[
                f"tiles.store({storage.homes[name]}, {name}_after, tile)"
                for name in program.carried
            ],
            x=storage.homes["x"],
            terms_of_x=_evaluated("terms", storage.homes["x"], "of_terms"),
            memory=[*self._vectors(), *self._memory_for_noise()],
        )
        head = [
            "from isotherm_numba import driver, noise",
            f'draw_normals, draw_exponentials = noise.draws("{self._dtype}")',
        ]
        return print_module(program.name, self._dtype, "\n".join(head), *self._functions, advance)

    def _rows(self) -> list[str]:
        """The memory for values."""
        lines = []
        for letter, count, length in (
            ("s", self._storage.n_rows, "size"),
            ("c", self._storage.n_chain_rows, "stride"),
            ("chain_coefficient", len(self._program.chain_coefficients), "size"),
        ):
            lines += [f"{letter}{k} = tiles.row_of({length}, number)" for k in range(count)]
        return lines

    def _vectors(self) -> list[str]:
        """Vectors as rows, the same for all tiles; matrices as they are."""
        lines, begin = [], "0"
        for k, name in enumerate(vectors_of(self._program)):
            is_vector = name in self._program.vectors
            end = f"{begin} + dim" if is_vector else f"{begin} + dim * dim"
            if is_vector:
                lines.append(f"vector{k} = tiles.row_of(size, number)")
                row = f"vectors[{begin} : {end}]"
                lines.append(f"tiles.spread({row}, vector{k}, chains, tile)")
            else:
                lines.append(f"{name} = vectors[{begin} : {end}]")
            begin = end
        return lines

    def _of_chains(self, step: str) -> list[str]:
        """The chains' coefficients of a step, spread over the tile's lanes."""
        return [
            f"tiles.spread_chains(chain_coefficients[{k}, {step}], chain_coefficient{k}, tile)"
            for k in range(len(self._program.chain_coefficients))
        ]

    def _memory_for_noise(self) -> list[str]:
        """Blocks of noise, and the words of the counters that each stream has for itself."""
        lines = [f"high_{one.name} = np.empty(size, np.uint32)" for one in self._streams]
        if noise.Stream.SUBSTEP in self._streams:
            lines.append("shifted = np.empty(size, np.uint32)")
        for place, index in {place: index for index, place in self._noise.items()}.items():
            is_of_chains = self._program.spaces[index] == Space.CHAIN
            count = noise.EXPONENTIALS_PER_BLOCK if is_of_chains else self._per_block
            length = "stride" if is_of_chains else "size"
            lines.append(f"{place} = tiles.rows_of(i64({count}), {length}, number)")
        return lines

    def _block_of_normals(self) -> list[str]:
        """Normals of the steps to come, at the first step of a block."""
        lines = []
        for stream in self._program.streams():
            draw = self._draw(f"normals_{stream}", f"t // {self._per_block}", stream)
            guards = {one.guard for one in self._calls if one.detail == stream}
            if None not in guards:
                rows = [int(self._program.values[g].value) for g in guards if g is not None]
                used = " or ".join(f"tiles.is_used(coefficients[{k}], s, ahead)" for k in rows)
                lines += [f"if {used}:", f"    {draw}"]
            else:
                lines.append(draw)
        head = [
            f"position = t % {self._per_block}",
            "if s == 0 or position == 0:",
            f"    ahead = min(s + {self._per_block} - position, n_steps)",
        ]
        return [*head, *_indented(lines)] if lines else []

    def _draw(self, out: str, block: str, stream: str, coordinate: str = "coordinate") -> str:
        counter = f"u64({block}), {coordinate}, low, high_{stream}"
        return f"draw_normals(words, {out}, {counter}, k0, k1, {_ALL})"

    def _lines(self, statements: Sequence[Statement]) -> list[str]:
        lines: list[str] = []
        for one in statements:
            match one:
                case Segment():
                    lines.append(self._segment(one))
                case Call():
                    lines += self._call(one)
                case Loop():
                    lines += self._loop(one)
        return lines

    def _segment(self, segment: Segment) -> str:
        program, places = self._program, self._storage.places
        name = f"segment{len(self._functions)}"
        function = print_segment(name, program, segment, places, _LANES, self._noise)
        self._functions.append("@njit(**inner)\n" + function)
        if segment.space == Space.CHAIN:
            lanes = _OF_CHAINS
        elif any(program.spaces[index] == Space.CHAIN for index in segment.inputs):
            lanes = _BY_ROWS
        else:
            lanes = _ALL
        return f"{name}({', '.join(segment_arguments(segment, places, self._noise))}, {lanes})"

    def _call(self, call: Call) -> list[str]:
        args = [self._row(self._storage.places.get(index, "")) for index in call.args]
        results = [self._storage.places[index] for index in call.results]
        match call.op:
            case "gradient":
                return _evaluated("gradient", args[0], results[0])
            case "value_and_gradient":
                energy = _evaluated("terms", args[0], results[0])
                return energy + _evaluated("gradient", args[0], results[1])
            case "total":
                return [f"tiles.total({args[0]}, scratch, {results[0]}, tile)"]
            case "matvec":
                return [f"tiles.matvec({call.detail}, {args[0]}, {results[0]}, tile)"]
            case "normal":
                return [f"row{call.results[0]} = position"]
            case "exponential":
                return self._exponential(call)
        return self._substep_normal(call)

    def _row(self, place: str) -> str:
        """The row of a place: of a block of noise that of the step."""
        of_noise = {place: index for index, place in self._noise.items()}
        return f"{place}[row{of_noise[place]}]" if place in of_noise else place

    def _exponential(self, call: Call) -> list[str]:
        (result,) = call.results
        per_block = noise.EXPONENTIALS_PER_BLOCK
        high = f"high_{noise.Stream.ACCEPT.name}"
        counter = f"u64(t // {per_block}), coordinate, low, {high}"
        return [
            f"if s == 0 or t % {per_block} == 0:",
            f"    draw_exponentials(words, noise{result}, {counter}, k0, k1, {_OF_CHAINS})",
            f"row{result} = t % {per_block}",
        ]

    def _substep_normal(self, call: Call) -> list[str]:
        (result,), number = call.results, f"pass{call.args[0]}"
        draw = self._draw(f"noise{result}", "t", noise.Stream.SUBSTEP.name, "shifted")
        return [
            f"if {number} % {self._per_block} == 0:",
            f"    tiles.shift_coordinates(coordinate, {number} // {self._per_block}, shifted)",
            f"    {draw}",
            f"row{result} = {number} % {self._per_block}",
        ]

    def _loop(self, loop: Loop) -> list[str]:
        storage = self._storage
        return [
            *self._copied(storage.entering[loop.index]),
            f"for pass{loop.index} in range(int(v{loop.count})):",
            f"    v{loop.index} = number(pass{loop.index})",
            *_indented(self._lines(loop.body)),
            *_indented(self._copied(storage.leaving[loop.index])),
        ]

    def _copied(self, copies: Sequence[Copy]) -> list[str]:
        return [
            f"tiles.copy({target}, {self._row(source)}, {_OF_CHAINS if target[0] == 'c' else _ALL})"
            for target, source in copies
        ]

    def _counted(self) -> list[str]:
        told = self._told(("accepted", "diverging"))
        lines = [f"tiles.count({row}, {name}, tile)" for name, row in told.items()]
        return ["if s >= first_counted:", *_indented(lines)] if lines else []

    def _kept(self) -> list[str]:
        return [
            line
            for name, row in self._told(("energy_error",)).items()
            for line in (
                f"if {name}.size:",
                f"    tiles.copy({name}[k, start : start + m], {row}, 1, 0, m)",
            )
        ]

    def _told(self, names: Sequence[str]) -> Mapping[str, str]:
        """The rows of those reports that a program gives."""
        reports = self._program.reports
        return {name: self._storage.places[reports[name]] for name in names if name in reports}


def _evaluated(function: str, x: str, out: str) -> list[str]:
    """What an energy's function gives of a tile."""
    args = f"{function}, {x}, {out}, scratch, parameters, dim, stride, tile.lanes, call * stride"
    return ["for call in range(tile.calls):", f"    kernel_calls.call({args})"]


def _indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def _filled(template: str, **values: Any) -> str:
    """The template, where a line that is a name in braces becomes the lines of that name."""
    lines = []
    for line in template.splitlines():
        text = line.strip()
        value = values.get(text[1:-1]) if text[:1] == "{" and text[-1:] == "}" else None
        if value is None:
            lines.append(line.format(**values))
        else:
            lines += [line[: -len(text)] + one for one in value]
    return "\n".join(lines) + "\n"
