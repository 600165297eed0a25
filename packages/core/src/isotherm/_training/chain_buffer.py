"""Persistent chains: what a training loop keeps of its sampler from one step to the next."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from isotherm._arithmetic.arrays import (
    Array,
    all_finite,
    device_of,
    dtype_name,
    empty,
    is_array,
    move,
    namespace,
    on_own_device,
    plain_array,
    to_numpy,
)
from isotherm._arithmetic.versions import STREAM_VERSION
from isotherm._backends import registry
from isotherm._backends.protocol import on_device
from isotherm._energies.origin import is_declared
from isotherm._planning.arguments import (
    OnDivergence,
    as_count,
    as_number,
    as_on_divergence,
    as_shape,
    check_start,
    check_stream,
)
from isotherm._planning.keywords import knows_keywords
from isotherm._planning.make_plan import make_plan
from isotherm._plans.plan import Plan
from isotherm._results.result import Info, Result, joined
from isotherm._runs.advance import not_finite
from isotherm._runs.checks import initial_state
from isotherm._runs.run import run_here
from isotherm._samplers.base import Sampler
from isotherm._training import choices
from isotherm._training.choices import Numbers, Words
from isotherm._training.init import Init, Place, index, taken
from isotherm._transitions.catalogue import find
from isotherm.errors import (
    DivergenceError,
    DivergenceWarning,
    InputError,
    caller_stacklevel,
    short_repr,
)

_VERSION = 1
_MOST_SLOTS = 2**31 - 1  # of which one word of the stream picks
_COUNTS = ("n_drawn", "n_reinitialised", "n_diverged")


class ChainBuffer:
    """Persistent chains (Tieleman, ICML 2008; Du and Mordatch, NeurIPS 2019, for deep energies).

    It keeps the states of `capacity` chains. Each draw takes some, runs the sampler from them, and
    writes the ends back to the slots that they came from. A few begin anew each time, so that no
    mode is lost for good.

    The chains that are ever drawn are numbered 0, 1, 2, ...; slot, new beginning, start and all
    noise of one are functions of the seed and its number. So the buffer has the same states on
    every backend and device, and goes on from `state_dict` as if it had never stopped.

    Threads may share one: their draws follow one another.

    Parameters
    ----------
    sampler : LangevinDynamics, UnderdampedLangevin, MALA or HamiltonianMonteCarlo
        Whose energy is asked anew at every draw: a network in training is seen with the weights
        that it has then. Schedules begin at every draw.
    capacity : int
        Slots.
    shape : int or tuple of int, optional
        Of one chain's state; needed where the energy does not tell it.
    init : {"uniform", "normal"}, array or callable
        Where chains begin: uniformly in `init_range`; from N(0, I); from a row, picked uniformly,
        of an array (n, *shape); or from ``init(z)``, with z of shape (k, *shape) from N(0, I), in
        the library of the chains, which is ``init(z, labels)`` where there are classes. The first
        two are reflected into the sampler's bounds; what is given must lie inside of them.
    init_range : (float, float)
        Of ``"uniform"``.
    reinit_probability : float
        In [0, 1]: with which a chain that is drawn begins anew.
    n_classes : int, optional
        The slots are then shared out among so many classes.
    seed : int, generator or key, optional
        Key of everything that is random here; that of the sampler, else a fresh one.
    device : str or device, optional
        Where the states are kept, by default where the chains run. ``"cpu"`` leaves the memory of a
        card to the network.
    label_keyword : str or None
        The keyword by which the energy receives the labels of the chains, where there are classes;
        None: it does not ask for them.

    Attributes
    ----------
    states : array, shape (capacity, *shape)
        What the chains are now; 0 in slots that were never drawn.
    ages : int64 array of NumPy, shape (capacity,)
        Steps since each began; 0 in slots whose chain is yet to begin.
    classes : int64 array of NumPy, shape (capacity,), or None
        The class of each slot.
    n_drawn, n_reinitialised, n_diverged : int
        Chains drawn so far; begun anew by `reinit_probability`; and by divergence.
    info : Info or None
        How the last draw went, all batches together: acceptance, divergence, seconds.
    seed : int

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> well = isotherm.DoubleWellEnergy(barrier_height=2.0)
    >>> sampler = isotherm.LangevinDynamics(well, step_size=0.01)
    >>> buffer = isotherm.ChainBuffer(sampler, capacity=1000, shape=2, seed=0)
    >>> buffer.draw(64, n_steps=20).shape
    (64, 2)
    """

    @knows_keywords
    def __init__(
        self,
        sampler: Sampler,
        capacity: int = 10_000,
        shape: int | tuple[int, ...] | None = None,
        init: str | Array | Callable[..., Array] = "uniform",
        init_range: tuple[float, float] = (-1.0, 1.0),
        reinit_probability: float = 0.05,
        n_classes: int | None = None,
        seed: object = None,
        device: object = None,
        *,
        label_keyword: str | None = "labels",
    ) -> None:
        if not isinstance(sampler, Sampler):
            raise InputError(
                "sampler must be a sampler, for example isotherm.LangevinDynamics(energy); got "
                f"{short_repr(sampler)}"
            )
        energy = sampler.energy_function
        self.sampler = sampler
        self.capacity = _as_capacity(capacity, n_classes)
        self.reinit_probability = _as_probability(reinit_probability)
        if shape is None and not (is_declared(energy) and energy.dim is not None):
            raise InputError("give shape, that of one chain's state, for example shape=(1, 28, 28)")
        place = make_plan(
            energy,
            dim=shape if shape is None else as_shape(shape),
            n_steps=0,
            dtype=sampler.dtype,
            device=sampler.device,
            backend=sampler.backend,
            seed=sampler.seed if seed is None else seed,
            bounds=sampler.bounds,
        )  # which tells where chains run, whatever the sampler's schedules
        self.seed = place.seed
        self.shape = place.event_shape
        self.n_classes = n_classes
        self._bounds = choices.class_bounds(self.capacity, n_classes or 1)
        self.classes: Numbers | None = None
        if n_classes is not None:
            self.classes = np.repeat(np.arange(n_classes), np.diff(self._bounds))
        self._label_keyword = label_keyword
        self._place = place
        self._run_on = Place(place.library, place.state_dtype, _device_of_results(place))
        own = self._run_on.device
        if device is not None:
            own = registry.usable(place.backend).resolve_device(str(device))
        self._kept_on = self._run_on._replace(device=own)
        self._lock = RLock()
        self.info: Info | None = None
        self.n_drawn = self.n_reinitialised = self.n_diverged = 0
        self.ages = np.zeros(self.capacity, dtype=np.int64)
        with self._alone():
            self._init = Init(init, init_range, place, self._run_on)
            self._kept = {name: self._zeros() for name in self._carried}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread is here, and what is made can be used whatever mode the caller is in."""
        with self._lock, on_device(registry.usable(self._place.backend), self._place):
            yield

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    @property
    def states(self) -> Array:
        return self._kept["x"]

    @property
    def _carried(self) -> tuple[str, ...]:
        return find(self.sampler.name).carried

    @knows_keywords
    def draw(
        self,
        n: int,
        n_steps: int,
        labels: Array | None = None,
        *,
        model_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        on_divergence: OnDivergence = "warn",
    ) -> Any:
        """Take chains, let them run, and put them back.

        Where the energy raises, or Ctrl-C ends the run, nothing has changed, and the draw can be
        repeated.

        Parameters
        ----------
        n : int
            Chains, of as many slots.
        n_steps : int
            Steps of the sampler.
        labels : int array, shape (n,), optional
            The class of each chain; by default slots are taken from all classes alike.
        model_kwargs : mapping of str to anything, optional
            Keywords that the energy receives at every call, beside the labels; see `isotherm.run`.
        batch_size : int, optional
            Chains that run at a time, by default all. Their states do not depend on it, for
            energies whose value for a chain does not depend on how many there are; arrays in
            `model_kwargs` with n rows are cut likewise.
        on_divergence : {"warn", "raise", "ignore"}
            What to say of chains that leave the finite numbers, or whose energy is seen to be NaN.
            They begin anew, and are returned where they begin; with ``"raise"`` nothing changes.

        Returns
        -------
        states : array, shape (n, *shape)
            Of the library, dtype and device of the sampler; the caller's own.
        labels : int64 array, shape (n,)
            Only with classes; what is returned is then a pair.

        Raises
        ------
        InputError
            An argument is not usable.
        DivergenceError
            Chains left the finite numbers, and ``on_divergence="raise"``.
        """
        n, n_steps = as_count("n", n, 1), as_count("n_steps", n_steps, 1)
        size = n if batch_size is None else as_count("batch_size", batch_size, 1)
        as_on_divergence(on_divergence)
        if n > self.capacity:
            raise InputError(
                f"n is {n}, and the buffer has {self.capacity} slots, of which each is drawn once; "
                "draw fewer, or make it with a larger capacity"
            )
        with self._alone():
            check_stream(n, self.shape, self.n_drawn, n_steps)
            chosen = self._choose(n, labels)
            keywords = self._keywords(chosen, model_kwargs)
            starts = self._starts(chosen)
            pieces = [slice(first, min(first + size, n)) for first in range(0, n, size)]
            results = [
                self._run(chosen, rows, starts, n_steps, _rows_of(keywords, n, rows))
                for rows in pieces
            ]
            ends = {name: _joined([one.state[name] for one in results]) for name in self._carried}
            samples = _joined([one.samples for one in results])
            lost = _lost({**ends, "samples": samples}, pieces, results)
            if lost.size:
                message = (
                    f"{lost.size} of {n} chains left the finite numbers, or went where the energy "
                    "is NaN, and begin anew; take a smaller step_size (it is "
                    f"{short_repr(self.sampler.step_size)}), or set bounds=(low, high)"
                )
                if on_divergence == "raise":
                    raise DivergenceError(message)
                if on_divergence == "warn":
                    warnings.warn(message, DivergenceWarning, stacklevel=caller_stacklevel())
                fresh = self._fresh(chosen, lost, 1)
                samples = _with_rows(samples, lost, fresh)
                ends = {name: _with_rows(end, lost, None) for name, end in ends.items()}
                ends["x"] = _with_rows(ends["x"], lost, fresh)
            self._put_back(chosen, ends, n_steps, lost)
            counts = [
                (rows.stop - rows.start, one.info)
                for rows, one in zip(pieces, results, strict=True)
            ]
            self.info = joined(counts, n_steps)
            return samples if chosen.labels is None else (samples, self._as_labels(chosen.labels))

    def _choose(self, n: int, labels: Array | None) -> _Chosen:
        chains = np.arange(self.n_drawn, self.n_drawn + n, dtype=np.int64)
        words = choices.words_of(self.seed, chains)
        if labels is None:
            slots = choices.pick_slots(words.slot, [0] * n, (0, self.capacity))
            given = None if self.classes is None else self.classes[slots]
        else:
            given = self._checked(labels, n)
            choices.check_room(given, self._bounds)
            slots = choices.pick_slots(words.slot, given.tolist(), self._bounds)
        is_new = self.ages[slots] == 0
        is_anew = ~is_new & (words.anew < int(self.reinit_probability * 2.0**32))
        return _Chosen(chains, words, slots, given, is_new | is_anew, int(is_anew.sum()))

    def _checked(self, labels: Any, n: int) -> Numbers:
        if self.n_classes is None:
            raise InputError(
                "the buffer has no classes; make it with n_classes=, or give no labels"
            )
        try:
            values = to_numpy(labels) if is_array(labels) else np.asarray(labels)
        except ValueError:  # rows of several lengths
            values = np.empty(0)
        if values.dtype.kind not in "iu" or values.shape != (n,):
            raise InputError(
                f"labels must be {n} integers, one for each chain; got {short_repr(labels)}"
            )
        wrong = values[(values < 0) | (values >= self.n_classes)]
        if wrong.size:
            raise InputError(f"labels must be from 0 to {self.n_classes - 1}, not {wrong[0]}")
        return values.astype(np.int64)

    def _as_labels(self, labels: Numbers) -> Array:
        xp = namespace(self._run_on.library)
        return xp.asarray(labels, device=device_of(self._run_on.library, self._run_on.device))

    def _keywords(
        self, chosen: _Chosen, given: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        name = self._label_keyword
        if chosen.labels is None or name is None:
            return given
        if given is not None and name in given:
            raise InputError(
                f"the energy receives the labels as {name!r}; leave it out of model_kwargs"
            )
        return {**(given or {}), name: self._as_labels(chosen.labels)}

    def _starts(self, chosen: _Chosen) -> dict[str, Array]:
        """What the chains carry when they begin; momenta of those that begin anew are not in it."""
        starts = {
            name: taken(kept, chosen.slots, self._run_on) for name, kept in self._kept.items()
        }
        rows = np.flatnonzero(chosen.begins)
        if rows.size:
            starts["x"] = _with_rows(starts["x"], rows, self._fresh(chosen, rows, 0))
        return starts

    def _fresh(self, chosen: _Chosen, rows: Numbers, step: int) -> Array:
        """Where these of the chains begin: at the draw (step 0), or after a divergence (1)."""
        words = Words(*(word[rows] for word in chosen.words))
        labels = None if chosen.labels is None else self._as_labels(chosen.labels[rows])
        return self._init(self.seed, chosen.chains[rows], words, step, labels)

    def _run(
        self,
        chosen: _Chosen,
        rows: slice,
        starts: Mapping[str, Array],
        n_steps: int,
        keywords: Mapping[str, Any] | None,
    ) -> Result:
        x = starts["x"][rows, ...]
        if self.sampler.has_noise_scale_a_chain:
            raise InputError(
                "a buffer draws other chains at each call, which have no noise_scale of their own; "
                "give the sampler one number, or make a buffer for each"
            )
        plan = self.sampler.plan(x, n_steps=n_steps, seed=self.seed)
        # Put in here, so that what was planned for the last draw serves this one. States of half
        # precision are kept in float32, which does not tell the dtype of the samples.
        first = int(chosen.chains[rows][0])
        plan = replace(plan, chain_offset=first, dtype=self._place.dtype)
        momentum = None
        if "momentum" in starts:
            momentum = self._momentum(plan, x, starts["momentum"][rows, ...], chosen.begins[rows])
        energy = self.sampler.energy_function
        prepared = self.sampler.prepared
        return run_here(plan, energy, x, keywords, momentum, prepared=prepared)

    def _momentum(self, plan: Plan, x: Array, kept: Array, begins: np.ndarray[Any, Any]) -> Array:
        """The momenta that are kept, and fresh ones of the chains that begin anew."""
        rows = np.flatnonzero(begins)
        if not rows.size:
            return kept
        backend = registry.usable(plan.backend)
        with on_device(backend, plan):
            fresh = move(initial_state(plan, backend, x)["momentum"], *self._run_on)
        return _with_rows(kept, rows, taken(fresh, rows, self._run_on))

    def _put_back(
        self, chosen: _Chosen, ends: Mapping[str, Array], n_steps: int, lost: Numbers
    ) -> None:
        moved = {name: move(end, *self._kept_on) for name, end in ends.items()}
        for name, kept in self._kept.items():
            with on_own_device(kept):
                kept[index(kept, chosen.slots)] = moved[name]
        ages = np.where(chosen.begins, 0, self.ages[chosen.slots]) + n_steps
        ages[lost] = 0
        self.ages[chosen.slots] = ages
        self.n_drawn += len(chosen.slots)
        self.n_reinitialised += chosen.n_anew
        self.n_diverged += lost.size

    def state_dict(self) -> dict[str, Any]:
        """All that going on needs, as numbers and arrays of the buffer's library: a copy.

        Whatever saves numbers and arrays saves it: ``torch.save`` beside the network and the
        optimizer, `numpy.savez`.
        """
        xp = namespace(self._kept_on.library)
        where = device_of(self._kept_on.library, self._kept_on.device)
        with self._alone():
            held: dict[str, Any] = self._identity() | {"seed": self.seed}
            held |= {name: getattr(self, name) for name in _COUNTS}
            held["ages"] = xp.asarray(self.ages, copy=True, device=where)
            for name, kept in self._kept.items():
                with on_own_device(kept):
                    held[_NAMES[name]] = xp.asarray(kept, copy=True)
        return held

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another buffer like this one was.

        Parameters
        ----------
        state : mapping
            Of `state_dict`, of a buffer with the same capacity, shape, classes and kind of sampler,
            from whatever backend and device.

        Raises
        ------
        InputError
            It is not such a dict; nothing of it is then taken.
        """
        wanted = {*self._identity(), "seed", *_COUNTS, "ages", *map(_NAMES.get, self._kept)}
        if not isinstance(state, Mapping) or set(state) != wanted:
            given = state.keys() if isinstance(state, Mapping) else state
            raise InputError(
                f"a buffer's state has the names {', '.join(sorted(map(str, wanted)))}; got "
                f"{short_repr(given)}"
            )
        for name, own in self._identity().items():
            value = _plain(state[name], own)
            if not _is_same(value, own):
                raise InputError(
                    f"the state is of another buffer: its {name} is {short_repr(value)}, and this "
                    f"one's is {own!r}"
                )
        numbers = {name: _natural(name, _plain(state[name], 0)) for name in ("seed", *_COUNTS)}
        check_stream(1, self.shape, numbers["n_drawn"], 0)
        ages = _integers(state["ages"], self.capacity)
        with self._alone():
            kept = {
                name: self._checked_kept(_NAMES[name], state[_NAMES[name]]) for name in self._kept
            }
            for name, value in numbers.items():
                setattr(self, name, value)
            self.ages, self._kept = ages, kept

    def _identity(self) -> dict[str, Any]:
        """What a buffer must have in common with the one that it goes on from."""
        return {
            "version": _VERSION,
            "stream_version": STREAM_VERSION,
            "sampler": self.sampler.name,
            "capacity": self.capacity,
            "shape": list(self.shape),
            "n_classes": self.n_classes or 0,
            "dtype": self._kept_on.dtype,
        }

    def _checked_kept(self, name: str, given: Any) -> Array:
        """A copy of what another buffer kept, here."""
        expected = (self.capacity, *self.shape)
        given = plain_array(f"the state's {name}", given)
        dtype = self._kept_on.dtype
        if not (
            is_array(given) and tuple(given.shape) == expected and dtype_name(given.dtype) == dtype
        ):
            raise InputError(
                f"the state's {name} must be an array of {dtype} and shape {expected}, not "
                f"{_described(given)}"
            )
        with on_own_device(given):
            check_start(given, self._place.dtype, f"the state's {name}")
        kept = move(given, *self._kept_on)
        return compat.array_namespace(kept).asarray(kept, copy=True)

    def _zeros(self) -> Array:
        made = empty(self._kept_on.library, (self.capacity, *self.shape), *self._kept_on[1:])
        with on_own_device(made):
            made[...] = 0.0
        return made

    def __repr__(self) -> str:
        return (
            f"<ChainBuffer: {self.capacity} chains of shape {self.shape}, {self.n_drawn} drawn, "
            f"on {self._kept_on.device}>"
        )


#: What a state is called in a `ChainBuffer.state_dict`.
_NAMES = {"x": "states", "momentum": "momenta"}


class _Chosen(NamedTuple):
    """The chains of a draw, a row each."""

    chains: Numbers
    words: Words
    slots: Numbers
    labels: Numbers | None
    begins: np.ndarray[Any, np.dtype[np.bool_]]
    n_anew: int


def _device_of_results(plan: Plan) -> str:
    return "cpu" if plan.library == "numpy" else plan.device


def _as_capacity(capacity: Any, n_classes: Any) -> int:
    slots = as_count("capacity", capacity, 1)
    if slots > _MOST_SLOTS:
        raise InputError(f"capacity must be at most {_MOST_SLOTS}, not {slots}")
    if n_classes is not None and as_count("n_classes", n_classes, 1) > slots:
        raise InputError(
            f"{n_classes} classes need as many slots at least, and capacity is {slots}"
        )
    return slots


def _as_probability(given: Any) -> float:
    try:
        number = as_number(given)
    except TypeError:
        number = np.nan
    if isinstance(given, bool) or not 0.0 <= number <= 1.0:
        raise InputError(f"reinit_probability must be in [0, 1], not {short_repr(given)}")
    return number


def _with_rows(x: Array, rows: Numbers, values: Array | None) -> Array:
    """A copy of `x` with other values in some rows; None for 0."""
    with on_own_device(x):
        xp = compat.array_namespace(x)
        made = xp.asarray(x, copy=True)
        made[index(x, rows)] = 0.0 if values is None else xp.astype(values, x.dtype, copy=False)
    return made


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else compat.array_namespace(parts[0]).concat(parts, axis=0)


def _lost(ends: Mapping[str, Array], pieces: Sequence[slice], results: Sequence[Result]) -> Numbers:
    """The rows in which something is not finite, or whose energy the runs saw to be NaN."""
    found = np.zeros(pieces[-1].stop, dtype=np.bool_)
    for end in ends.values():
        with on_own_device(end), np.errstate(all="ignore"):
            if not all_finite(end):
                found |= to_numpy(not_finite(end))
    for rows, result in zip(pieces, results, strict=True):
        divergence = result.info.divergence
        if divergence is not None and divergence.chains is not None:
            found[rows.start + divergence.chains] = True
    return np.flatnonzero(found)


def _rows_of(keywords: Mapping[str, Any] | None, n: int, rows: slice) -> Mapping[str, Any] | None:
    """The keywords of some of the chains: of arrays with a row a chain, their rows."""
    if keywords is None or (rows.start, rows.stop) == (0, n):
        return keywords
    return {
        name: value[rows, ...] if is_array(value) and tuple(value.shape[:1]) == (n,) else value
        for name, value in keywords.items()
    }


def _plain(value: Any, own: Any) -> Any:
    """What `numpy.savez` gives back as an array of the shape of our own, as it was."""
    if isinstance(value, tuple):
        return list(value)
    is_plain = isinstance(value, np.ndarray) and value.dtype.kind in "iuU"
    return value.tolist() if is_plain and value.shape == np.shape(own) else value


def _is_same(value: Any, own: Any) -> bool:
    if isinstance(own, list) and type(value) is list:
        return len(value) == len(own) and all(map(_is_same, value, own))
    return type(value) is type(own) and bool(value == own)


def _natural(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise InputError(
            f"the state's {name} must be an integer in [0, 2**64), not {short_repr(value)}"
        )
    return value


def _integers(given: Any, capacity: int) -> Numbers:
    """The ages of another buffer, as our own."""
    ages = plain_array("the state's ages", given)
    is_right = is_array(ages) and dtype_name(ages.dtype) == "int64"
    if not is_right or tuple(ages.shape) != (capacity,) or (to_numpy(ages) < 0).any():
        raise InputError(
            f"the state's ages must be {capacity} int64 numbers, none negative, not "
            f"{_described(given)}"
        )
    return np.array(to_numpy(ages))


def _described(given: Any) -> str:
    if not is_array(given):
        return short_repr(given)
    return f"one of {given.dtype} and shape {tuple(given.shape)}"
