"""Seeds as other programs have them, and fresh ones in many processes."""

import multiprocessing
import os

import numpy as np
import pytest

import isotherm

ENERGY = isotherm.HarmonicEnergy()


def seed_of(seed, backend="numpy"):
    return isotherm.make_plan(ENERGY, dim=2, seed=seed, backend=backend).seed


def fresh_seeds(backend, queue):
    queue.put([seed_of(None, backend) for _ in range(2)])


def seeded(backend, queue):
    import torch

    torch.manual_seed(3)
    queue.put([seed_of(None, backend)])


def in_children(function, backend, count=3):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=function, args=(backend, queue)) for _ in range(count)]
    for child in children:
        child.start()
    found = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    return [seed for seeds in found for seed in seeds]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only some systems fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_fresh_seeds_differ_in_forked_workers(backend):
    seed_of(None, backend)
    seeds = [*in_children(fresh_seeds, backend), seed_of(None, backend)]
    assert len({*seeds}) == len(seeds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only some systems fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_seed_that_all_workers_set_gives_each_its_own():
    pytest.importorskip("torch")
    seeds = in_children(seeded, "torch")
    assert len({*seeds}) == len(seeds)


def test_torchs_seed_governs_in_one_process():
    torch = pytest.importorskip("torch")
    seeds = []
    for _ in range(2):
        torch.manual_seed(3)
        seeds.append([seed_of(None, "torch") for _ in range(2)])
    assert seeds[0] == seeds[1]
    assert seeds[0][0] != seeds[0][1]


@pytest.mark.parametrize(
    "source",
    [np.random.default_rng, np.random.RandomState, np.random.PCG64],
    ids=["Generator", "RandomState", "BitGenerator"],
)
def test_generators_move_on(source):
    generator = source(7)
    first, second = seed_of(generator), seed_of(generator)
    assert first != second
    assert seed_of(source(7)) == first


def test_a_seed_sequence_is_one_seed():
    sequence = np.random.SeedSequence(7)
    children = sequence.spawn(2)
    assert seed_of(sequence) == seed_of(np.random.SeedSequence(7))
    assert len({seed_of(sequence), *map(seed_of, children)}) == 3


def test_a_raw_key_of_jax_is_its_two_words():
    assert seed_of(np.array([1, 2], dtype=np.uint32)) == 2**32 + 2
    with pytest.raises(isotherm.InputError, match="seed must be"):
        seed_of(np.array([1, 2, 3], dtype=np.uint32))


def test_keys_of_jax():
    jax = pytest.importorskip("jax")
    assert seed_of(jax.random.key(5)) == seed_of(jax.random.PRNGKey(5)) == 5


def test_numpys_global_seed_has_no_say():
    seeds = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        seeds.append(seed_of(None))
    assert seeds[0] != seeds[1]
