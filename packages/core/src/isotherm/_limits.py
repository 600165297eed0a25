"""How much is done at a time: no bit of a result depends on these numbers. Tests change them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """The numbers of core.

    Attributes
    ----------
    normals_in_cache : int
        Elements of the noise that an array loop on the CPU makes at a time: they stay in the cache.
    piece_seconds : float
        After which the host looks again: for Ctrl-C, callbacks and divergence.
    worth_a_word : float
        Seconds of a run from which a slow path is told of.
    chunk_bytes, least_chunk_bytes : int
        Of kept states in a store: large enough for a disk and small enough to hold two; the least
        because a run that is gone on with may be longer than it was planned.
    unrolled_numbers : int
        Operations on numbers up to which a formula on arrays is unrolled; its gradient takes about
        three times as many.
    unrolled_each : int
        Numbers an instruction up to which it is, too, as its arrays are mostly numbers.
    """

    normals_in_cache: int = 2**14
    piece_seconds: float = 0.25
    worth_a_word: float = 1.0
    chunk_bytes: int = 2**24
    least_chunk_bytes: int = 2**20
    unrolled_numbers: int = 512
    unrolled_each: int = 3


LIMITS = Limits()
