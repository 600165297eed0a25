"""Energies that end their process or raise, where workers can import them."""

import os
import signal
from pathlib import Path

import isotherm

WELL = isotherm.DoubleWellEnergy(barrier_height=0.5)


class Well:
    """The same as `WELL`, as an object of a user's."""

    def __call__(self, x):
        return WELL(x)

    def gradient(self, x):
        return WELL.gradient(x)


class Deadly(Well):
    """Kills the processes in which it is asked for a gradient, `times` times in all."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder = folder
        self.times = times

    def gradient(self, x):
        for i in range(self.times):
            try:
                (self.folder / f"killed {i}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return super().gradient(x)


class Counted(Well):
    """Leaves a file for every gradient that it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def gradient(self, x):
        (self.folder / f"{len(list(self.folder.iterdir()))}").touch()
        return super().gradient(x)


class WellError(Exception):
    """Cannot be unpickled: its argument is not what it was made with."""

    def __init__(self, place: str, depth: float) -> None:
        super().__init__(f"no well at {place} ({depth})")


class Faulty(Well):
    """Raises, while a chain runs, what `make` makes."""

    def __init__(self, make, *arguments) -> None:
        self.make = make
        self.arguments = arguments

    def gradient(self, x):
        raise self.make(*self.arguments)
