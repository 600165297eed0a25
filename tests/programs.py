"""Programs of the site and of the gallery, run one after another in one process beside the tests.

What they import, they import once. Numba, which compiles for seconds, is left out there, and every
library has one thread.
"""

import contextlib
import io
import multiprocessing
import os
import runpy
import sys
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import isotherm


def run(path: Path, folder: Path, *arguments: object, is_right: bool = False) -> str:
    """What a program prints that is started in this folder.

    One that is said to be right must not warn that its samples are wrong.

    Raises
    ------
    AssertionError
        It ended with an error, whose traceback this tells.
    """
    printed, error = _process().submit(_run, str(path), str(folder), arguments, is_right).result()
    assert not error, error
    return printed


@cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    one = ("NUMBA_DISABLE_JIT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    os.environ.update(dict.fromkeys(one, "1"))
    os.environ["MPLBACKEND"] = "agg"


def _run(path: str, folder: str, arguments: tuple[object, ...], is_right: bool) -> tuple[str, str]:
    sys.argv = [path, *map(str, arguments)]
    printed, error = io.StringIO(), ""
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(),
    ):
        if is_right:
            warnings.simplefilter("error", isotherm.SamplingWarning)
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException:
            error = traceback.format_exc()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    return printed.getvalue(), error
