"""How much is done at a time. No chain depends on these numbers, and tests change them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """The numbers of the CuPy backend.

    What one launch does at most is some ten milliseconds of an H100, a few tenths of a second of a
    small card: well before a watchdog or an impatient Ctrl-C.

    Attributes
    ----------
    launch : int
        Operations of one, of all chains together.
    launch_steps : int
        Steps of one, as few chains leave most of the card idle.
    launch_bytes : int
        Of the coefficients of one, where each chain has its own at each step.
    launch_thread : int
        Operations of one of its threads, as chains may be few and large.
    held_bytes : int
        Of kept states, held for the diagnostics where no trajectory is kept.
    tiled : int
        Chains from which a thread is a coordinate of several, if that spares it reading a matrix;
        fewer would leave multiprocessors idle.
    moments_height : int
        Of the part of the moments' tree that one thread puts together: 2^8 chains.
    longest_program : int
        Operations on arrays that are compiled: a longer program takes minutes.
    cache_share : int
        Bytes of a card's cache for each thread that it runs at once: 32 MiB for 2^17.
    card : int
        Threads from which most of a card has work.
    busy : int
        Threads of several coordinates each from which it always has something to issue: two warps
        for each of an H100's 528 schedulers.
    team_blocks : int
        Blocks of teams of one launch, which take chains until none is left: all that a card runs at
        once, and more.
    memory_share : int
        They take at most this part, a quarter, of the memory that is free.
    """

    launch: int = 2**35
    launch_steps: int = 2**17
    launch_bytes: int = 2**26
    launch_thread: int = 2**22
    held_bytes: int = 2**26
    tiled: int = 512
    moments_height: int = 8
    longest_program: int = 4000
    cache_share: int = 256
    card: int = 2**17
    busy: int = 2**15
    team_blocks: int = 2**13
    memory_share: int = 4


LIMITS = Limits()
