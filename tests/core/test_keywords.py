"""The keywords of the calls that take the same: one name, one default, one type, and described."""

import inspect
import re
from typing import get_overloads, get_type_hints

import pytest

import isotherm
from isotherm._samplers import options

CALLS = {
    "make_plan": isotherm.make_plan,
    "run": isotherm.run,
    "sample_chain": isotherm.sample_chain,
    "Sampler.sample_chain": isotherm.LangevinDynamics.sample_chain,
    "explain": isotherm.explain,
    "resume": isotherm.resume,
}
# What means something else there, or has to be given.
OTHERS = {"resume": {"n_steps", "store"}}


def keywords(call):
    found = inspect.signature(call).parameters
    return {name: found[name] for name in found if name not in ("self", "plan")}


def type_of(parameter):
    return parameter.default, parameter.annotation


@pytest.mark.parametrize("name", CALLS)
def test_the_same_keyword_is_the_same_everywhere(name):
    whole = {**keywords(isotherm.make_plan), **keywords(isotherm.sample_chain)}
    mine = keywords(CALLS[name])
    shared = (mine.keys() & whole.keys()) - OTHERS.get(name, set())
    assert len(shared) >= 8
    assert {key: type_of(mine[key]) for key in shared} == {
        key: type_of(whole[key]) for key in shared
    }


def test_nothing_that_a_run_takes_is_missing_in_the_short_calls():
    plan, run = keywords(isotherm.make_plan).keys(), keywords(isotherm.run).keys()
    short, method = map(keywords, (isotherm.sample_chain, isotherm.LangevinDynamics.sample_chain))
    assert short.keys() == plan | run - {"n_shares"} | {"return_info", "n_warmup"}
    # Those of a sampler are said when it is made; where it runs, by ``to`` as well.
    own = [keywords(one) for one in vars(isotherm).values() if is_sampler(one)]
    assert len(own) == 4
    said = set().union(*own) - {"energy_function"} | {"energy", "sampler"}
    assert method.keys() == short.keys() - said | {"seed"}


def is_sampler(one):
    return isinstance(one, type) and hasattr(one, "sample_chain") and one.__module__ != "isotherm"


@pytest.mark.parametrize(
    ("call", "typed"),
    [
        (isotherm.sample_chain, options.SampleOptions),
        (isotherm.LangevinDynamics.sample_chain, options.RunOptions),
    ],
    ids=["sample_chain", "Sampler.sample_chain"],
)
def test_type_checkers_see_what_is_there(call, typed):
    there = {name: one.annotation for name, one in keywords(call).items()}
    hints = get_type_hints(call.__wrapped__)
    unpacked = get_type_hints(typed)
    assert {name: hints[name] for name in unpacked} == unpacked
    for overload in get_overloads(call.__wrapped__):
        seen = keywords(overload)
        del seen["options"]
        assert seen.keys() | unpacked.keys() == there.keys()
        assert not seen.keys() & unpacked.keys()
        for name in seen.keys() - {"return_diagnostics", "return_info"}:
            assert seen[name].annotation == there[name]


@pytest.mark.parametrize("name", CALLS)
def test_every_keyword_is_described_in_its_order(name):
    text = inspect.getdoc(CALLS[name])
    section = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    heads = re.findall(r"^(\w.*?)(?: : .*)?$", section, re.MULTILINE)
    described = [word for head in heads for word in head.split(", ")]
    taken = [one for one in inspect.signature(CALLS[name]).parameters if one != "self"]
    assert sorted(described) == sorted(taken)
