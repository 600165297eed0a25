"""A plan as JSON and back, whatever its fields are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from isotherm._plans.bounds import Bounds
from isotherm._plans.masses import InverseMass
from isotherm._plans.plan import Plan, Schedule

Document = dict[str, Any]

# How results come back is the business of who opens the store.
_AS_READ = {"library": "numpy", "return_trajectory": True}

# What stands for a schedule that is kept as an array, by its axis.
_ARRAYS: dict[str, Document] = {"step": {"schedule": None}, "chain": {"chains": None}}


def scheduled(plan: Plan) -> dict[str, str]:
    """The schedules of a plan that are no constants, and their axes; they are kept as arrays."""
    held = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return {name: _axis(value) for name, value in held.items() if _is_array(value)}


def plan_to_json(plan: Plan) -> Document:
    """The fields as numbers, strings, lists and dictionaries; of an array schedule, that it is."""
    names = [field.name for field in fields(plan) if field.name not in _AS_READ]
    return {name: _to_json(getattr(plan, name)) for name in names}


def plan_from_json(document: Document) -> tuple[Plan, dict[str, str]]:
    """The plan, and the axes of its schedules that are arrays, for which constants of 1 stand.

    Raises
    ------
    TypeError, ValueError, AttributeError
        These are not the fields of a plan.
    """
    axes = {
        name: axis
        for name, value in document.items()
        for axis, text in _ARRAYS.items()
        if value == text
    }
    for name, value in document.items():
        if isinstance(value, dict) and "decaying" in value and name != "step_size":
            raise ValueError(f"{name} does not decay")  # to look at it would take any memory
    # Whoever wrote no version of something had the first.
    first = {field.name: 1 for field in fields(Plan) if field.name.endswith("version")}
    held = {name: _from_json(value) for name, value in document.items()}
    return Plan(**first | held | _AS_READ), axes


def _is_array(value: Any) -> bool:
    return isinstance(value, Schedule) and not (value.is_constant or value.decay)


def _axis(schedule: Schedule) -> str:
    return "chain" if schedule.is_of_chains else "step"


def _to_json(value: Any) -> Any:
    if isinstance(value, InverseMass):
        return {"inverse_mass": value.values.tolist()}
    if isinstance(value, Bounds):
        return {"bounds": [value.low.tolist(), value.high.tolist()]}
    if isinstance(value, Schedule):
        if value.decay:
            return {"decaying": [value.start, value.decay, value.first, value.size]}
        return _ARRAYS[_axis(value)] if _is_array(value) else {"schedule": value.start}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist()}
    if isinstance(value, (tuple, list)):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind in ("schedule", "chains"):
        return Schedule(1.0 if held is None else float(held))
    if kind == "decaying":
        return Schedule(*held)
    if kind == "inverse_mass":
        return InverseMass(held)
    if kind == "bounds":
        return Bounds(*held)
    if kind == "array":
        return np.array(held, dtype=np.float64)
    raise ValueError(f"a plan has no {kind}")
