"""How much is done at a time. No chain depends on these numbers, and tests change them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """The numbers of the Numba backend.

    Attributes
    ----------
    tile : int
        Coordinates: with noise and gradient about 30 KiB, the first cache of a core.
    quadratic_lanes : int
        Chains of a tile of a quadratic form, at least: its loops are short and must pay.
    longest_program : int
        Instructions that are unrolled: longer programs compile for minutes and gain nothing.
    array_part : int
        Elements of an array that a thread takes at a time: long beside the call of a kernel, few
        beside an array.
    parts : int
        At most, into which the chains are divided for threads and for the moments.
    worth_a_thread : int
        Coordinates times steps: to wake a thread for less, 0.4 ms, does not pay.
    moments_bytes : int
        For the moments of all parts.
    coefficients_bytes : int
        For coefficients of which each chain has its own at each step.
    patience : float
        Seconds of compiling after which the user is told.
    """

    tile: int = 1024
    quadratic_lanes: int = 64
    longest_program: int = 2000
    array_part: int = 2**15
    parts: int = 64
    worth_a_thread: int = 2**18
    moments_bytes: int = 2**26
    coefficients_bytes: int = 2**24
    patience: float = 5.0


LIMITS = Limits()
