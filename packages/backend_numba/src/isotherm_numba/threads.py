"""Pieces of work shared by as many threads as Numba's user asked for.

The threads are Python's, and the kernels release the interpreter's lock. Numba's own layers are not
used: its workqueue ends the process when two Python threads call it at once, and OpenMP's does in
a forked child. Threads of Python's can be used from any thread and made anew after a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
from numba.np.ufunc import parallel


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, "isotherm")


def run_all(work: Callable[[int], object], count: int, most: int | None = None) -> None:
    """Call ``work(i)`` for every i below `count`, in no order, on ``numba.get_num_threads()``.

    Or on `most` threads, where that is fewer.
    """
    helpers = min(_wanted(), count if most is None else min(count, most)) - 1
    if helpers == 0:
        for i in range(count):
            work(i)
        return
    pending = iter(range(count))  # next() of it is atomic: each number is taken once

    def take() -> None:
        for i in pending:
            work(i)

    futures = [_pool().submit(take) for _ in range(helpers)]
    try:
        take()
    finally:  # an error or Ctrl-C leaves nothing running behind the caller's back
        for _ in pending:
            pass
        for future in futures:
            if not future.cancel():
                future.result()


def _wanted() -> int:
    """``numba.get_num_threads()``, which unasked would start a layer of Numba's.

    And with OpenMP's layer set the number of threads of every other library that uses OpenMP.
    """
    if parallel._is_initialized:
        return int(numba.get_num_threads())
    return int(numba.config.NUMBA_NUM_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
