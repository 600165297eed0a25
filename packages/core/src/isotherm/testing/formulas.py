"""Random formulas for hypothesis.

A formula is a tree of nested tuples: ``("x", i)``, ``("p", j)``, ``("const", c)``, or the name of
an operation and its operands. The operations are kept where they are smooth and tame (√(1 + a²)
rather than √a), so that rounding errors stay small whatever is nested in what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

import isotherm
from isotherm._energies.formulas import FormulaEnergy

Tree: TypeAlias = tuple[Any, ...]

N_PARAMETERS = 2

UNARY = ("neg", "sqrt", "exp", "log", "sin", "cos", "tanh", "abs", "square", "cube", "inverse")
BINARY = ("add", "sub", "mul", "div", "min", "max")


def trees(n_coordinates: int) -> st.SearchStrategy[Tree]:
    """Trees over this many coordinates and `N_PARAMETERS` parameters."""
    leaves: st.SearchStrategy[Tree] = st.one_of(
        st.tuples(st.just("x"), st.integers(0, n_coordinates - 1)),
        st.tuples(st.just("p"), st.integers(0, N_PARAMETERS - 1)),
        st.tuples(st.just("const"), st.sampled_from([-1.5, 0.25, 0.7, 1.0, 2.0, 3.3])),
    )

    def grow(smaller: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        return st.one_of(
            st.tuples(st.sampled_from(UNARY), smaller),
            st.tuples(st.sampled_from(BINARY), smaller, smaller),
            st.tuples(st.just("where"), smaller, smaller, smaller),
        )

    return st.recursive(leaves, grow, max_leaves=12)


def energies() -> st.SearchStrategy[FormulaEnergy]:
    """Energies of random formulas, of one coordinate and of states of two."""

    def energy(dim: int | None) -> st.SearchStrategy[FormulaEnergy]:
        parameters = st.lists(st.floats(0.5, 2.0), min_size=N_PARAMETERS, max_size=N_PARAMETERS)
        return st.builds(formula_energy, trees(dim or 1), parameters, st.just(dim))

    return st.sampled_from([None, 2]).flatmap(energy)


def value(
    tree: Tree, x: Any, p: Any, m: Any, note: Callable[[Any], object] = lambda margin: None
) -> Any:
    """What a tree stands for: with symbols, `m` being `isotherm.math`; or with numbers.

    `note` is told by how much each choice was decided: at a tie a formula has no slope.
    """
    op, *operands = tree
    if op == "x":
        return x[operands[0]]
    if op == "p":
        return p[operands[0]]
    if op == "const":
        return operands[0]
    a, *rest = [value(operand, x, p, m, note) for operand in operands]
    if op in ("abs", "min", "max", "where"):
        note(a if op == "abs" else a - (x[0] if op == "where" else rest[0]))
    match op:
        case "neg":
            return -a
        case "sqrt":
            return m.sqrt(1.0 + a * a)
        case "exp":
            return m.exp(-m.sqrt(1.0 + a * a))
        case "log":
            return m.log(1.0 + a * a)
        case "sin" | "cos" | "tanh":
            return getattr(m, op)(a)
        case "abs":
            return abs(a)
        case "square":
            return a**2 / (1.0 + 0.01 * (a * a))
        case "cube":
            return a**3 / (10.0 + a**4)
        case "inverse":
            return (1.5 + a * a) ** -1
        case "add":
            return a + rest[0]
        case "sub":
            return a - rest[0]
        case "mul":  # 0.01 |a| turns without a kink: its slope is met by the factor a
            return a * rest[0] / (1.0 + 0.01 * abs(a))
        case "div":
            return a / (1.0 + rest[0] * rest[0])
        case "min":
            return m.minimum(a, rest[0])
        case "max":
            return m.maximum(a, rest[0])
        case "where":
            return m.where(x[0] < a, *rest)
    raise AssertionError(f"no operation {op!r}")


def random_energy(
    tree: Tree, x: Any, p: Any, m: Any, note: Callable[[Any], object] = lambda margin: None
) -> Any:
    """The tree and a confinement, which keeps chains finite and needs every coordinate."""
    confinement = sum(0.5 * (c * c) for c in x)
    return value(tree, x, p, m, note) + (confinement + 0.1 * p[0])


def formula_energy(tree: Tree, p: Any, dim: int | None = None) -> FormulaEnergy:
    """The tree as a formula's energy: of one coordinate where `dim` is None."""
    if dim is None:
        return isotherm.formula(lambda x, *, p: random_energy(tree, [x], p, isotherm.math))(p=p)
    return isotherm.formula(dim=dim)(lambda x, *, p: random_energy(tree, x, p, isotherm.math))(p=p)
