"""Seeds: what a user may give as one, and fresh ones that no two processes share."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
import threading
from typing import Any

import numpy as np

from isotherm._arithmetic.arrays import is_array, to_numpy
from isotherm._backends.protocol import Backend
from isotherm._planning.arguments import as_seed
from isotherm.errors import InputError, short_repr


def seed_of(seed: Any, backend: Backend) -> int:
    """The key of the noise that a user's seed stands for; a fresh one for None.

    Parameters
    ----------
    seed : None, int, generator or key
        See `isotherm.make_plan`.
    backend : Backend
        Whose library's generator gives fresh seeds.
    """
    if seed is None:
        drawn = backend.fresh_seed(None)
        return secrets.randbits(64) if drawn is None else _of_this_process(drawn)
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**64, dtype=np.uint64))
    if isinstance(seed, np.random.RandomState):
        return int(seed.randint(2**64, dtype=np.uint64))
    if isinstance(seed, (np.random.SeedSequence, np.random.BitGenerator)):
        return _of_source(seed)
    words = _key_words(seed)
    if words is not None:
        return int(words[0]) << 32 | int(words[1])
    if not hasattr(seed, "__index__"):
        drawn = backend.fresh_seed(seed)
        if drawn is not None:
            return drawn
        raise InputError(
            f"seed must be an integer in [0, 2**64), a generator or a key, not {short_repr(seed)}"
        )
    return as_seed(seed)


def _of_source(source: np.random.SeedSequence | np.random.BitGenerator) -> int:
    if isinstance(source, np.random.SeedSequence):
        return int(source.generate_state(1, np.uint64)[0])
    return int(np.random.Generator(source).integers(2**64, dtype=np.uint64))


def _key_words(seed: Any) -> np.ndarray[Any, Any] | None:
    """The two 32-bit words of a JAX key, typed or raw; None of what is no such key."""
    if not is_array(seed):
        return None
    if "key<" in str(seed.dtype):  # a typed key, whose words only JAX hands out
        import importlib

        seed = importlib.import_module("jax").random.key_data(seed)
    words = to_numpy(seed) if tuple(seed.shape) == (2,) else None
    return words if words is not None and words.dtype == np.uint32 else None


class _Family:
    """Which child of which child this process is, in the family of the first one.

    A library's generator is copied by a fork, and then draws the same in parent and child. To a
    fresh seed a child therefore adds its own place in the family. That place is a number of order,
    so that what is drawn stays reproducible where the user seeded the library.
    """

    def __init__(self) -> None:
        self._forks = threading.Lock()
        self._n_children = 0
        parent = multiprocessing.parent_process()
        # One that was forked before this module was imported has a name that tells its number.
        self.place: tuple[object, ...] = (
            () if parent is None else (multiprocessing.current_process().name,)
        )

    def before(self) -> None:
        self._forks.acquire()  # two threads' children must not have one number
        self._n_children += 1

    def in_parent(self) -> None:
        self._forks.release()

    def in_child(self) -> None:
        self._forks.release()
        self.place = (*self.place, self._n_children)
        self._n_children = 0


_family = _Family()
if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(
        before=_family.before,
        after_in_parent=_family.in_parent,
        after_in_child=_family.in_child,
    )


def _of_this_process(drawn: int) -> int:
    """A seed drawn from a library's generator; in a child another one than in its parent."""
    if not _family.place:
        return drawn
    digest = hashlib.blake2b(repr((drawn, _family.place)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
