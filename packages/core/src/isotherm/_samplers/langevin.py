"""Samplers without a Metropolis decision."""

from __future__ import annotations

from typing import Any

from isotherm._planning.arguments import BoundsLike, ScheduleLike
from isotherm._planning.keywords import knows_keywords
from isotherm._samplers.base import Sampler


class LangevinDynamics(Sampler):
    """Overdamped Langevin sampling of exp(-U/noise_scale²), unadjusted.

    Each step is x ← (x - η M⁻¹∇U(x)) + noise_scale √(2η) M⁻½ ξ with ξ standard normal (Roberts and
    Tweedie, Bernoulli 2, 1996, equation 2). Its law is biased by the step size; `MALA` is the same
    step with a decision that makes it exact.

    Parameters
    ----------
    energy_function : callable
        U: x of shape (n_samples, *event_shape) → shape (n_samples,), or terms of the shape of x
        which are summed; with a method ``gradient`` unless the backend differentiates by itself.
    step_size : float, array or callable
        η > 0: a number, one for each step, or a function of the step's number.
    noise_scale : float, array or callable, optional
        ≥ 0, likewise; 1 by default. 0 is gradient descent. An array of shape (n_samples, 1) is one
        a chain, the same at all steps.
    decay : float
        In [0, 1): step t uses step_size·(1 - decay)^t.
    clamp : (float or None, float or None), optional
        Bounds into which every coordinate is put after each step. What would leave them then sits
        on them, where the law has mass: of a half normal 16 % in steps of 0.05. In half precision
        they are rounded inwards.
    dtype : dtype or str, optional
        Of the samples: that of the start, else of the energy's parameters, else float32.
    device : str or device, optional
        Where to run.
    backend : str, optional
        ``"numpy"``, ``"numba"``, ``"torch"``, ``"cupy"``; by default that of the arrays.
    temperature : float, array or callable, optional
        noise_scale², instead of `noise_scale`.
    inverse_mass : float, array or matrix, optional
        M⁻¹, a preconditioner: a number, one a coordinate (*event_shape), or a symmetric positive
        definite matrix (dim, dim) for up to 64 coordinates; 1 by default.
    seed : int, generator or key, optional
        Of runs that are given none: with a number they are all the same, with a generator not.
    bounds : (low, high), optional
        Which reflect: each a number, None or an array of the shape of a chain's state. Without mass
        on the bounds, and with the law to the order of the step; see `isotherm.make_plan`.
    gradient_clip, gradient_clip_norm : float, optional
        Clip each coordinate of ∇U to ±gradient_clip, and a chain's gradient to this norm: where U
        is steeper, the law is another.

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.GaussianEnergy(mean=[1.0, -1.0], cov=[[1.0, 0.5], [0.5, 2.0]])
    >>> sampler = isotherm.LangevinDynamics(energy, step_size=0.05)
    >>> sampler.sample_chain(dim=2, n_samples=1000, n_steps=200, seed=0).shape
    (1000, 2)
    """

    name = "langevin"

    @knows_keywords
    def __init__(
        self,
        energy_function: Any,
        step_size: ScheduleLike = 1e-3,
        noise_scale: ScheduleLike | None = None,
        decay: float = 0.0,
        clamp: tuple[float | None, float | None] | None = None,
        dtype: Any = None,
        device: Any = None,
        backend: str | None = None,
        *,
        temperature: ScheduleLike | None = None,
        inverse_mass: Any = None,
        seed: object = None,
        bounds: BoundsLike | None = None,
        gradient_clip: float | None = None,
        gradient_clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            energy_function,
            step_size=step_size,
            noise_scale=noise_scale,
            temperature=temperature,
            dtype=dtype,
            device=device,
            backend=backend,
            seed=seed,
            decay=decay,
            clamp=clamp,
            inverse_mass=inverse_mass,
            bounds=bounds,
            gradient_clip=gradient_clip,
            gradient_clip_norm=gradient_clip_norm,
        )
        self.decay = decay
        self.clamp = clamp
        self.inverse_mass = inverse_mass
        self.bounds = bounds
        self.gradient_clip = gradient_clip
        self.gradient_clip_norm = gradient_clip_norm


class UnderdampedLangevin(Sampler):
    """Underdamped Langevin sampling of exp(-U/noise_scale²) by BAOAB, unadjusted.

    The state is (x, p); each step is half a kick, half a drift, the exact Ornstein-Uhlenbeck step
    of the momentum, half a drift, half a kick (Leimkuhler and Matthews, Applied Mathematics
    Research eXpress, 2013). Its configurations are biased by order h², for a harmonic energy not
    at all.

    Parameters
    ----------
    energy_function : callable
        U; see `LangevinDynamics`.
    step_size : float, array or callable, optional
        h > 0, a time: a number, one for each step, or a function of the step's number; needed to
        sample.
    friction : float, array or callable, optional
        γ ≥ 0, of a unit of time; 1 by default, and 0 is Hamiltonian dynamics.
    noise_scale, temperature, dtype, device, backend, inverse_mass, seed
        See `LangevinDynamics`; momenta have the law N(0, noise_scale² M).
    bounds, gradient_clip, gradient_clip_norm
        See `LangevinDynamics`; at the bounds each drift is reflected and its momentum turned.

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> well = isotherm.DoubleWellEnergy(barrier_height=2.0)
    >>> sampler = isotherm.UnderdampedLangevin(well, step_size=0.1, friction=0.5)
    >>> sampler.sample_chain(dim=3, n_samples=100, n_steps=200, seed=0).shape
    (100, 3)
    """

    name = "underdamped"

    @knows_keywords
    def __init__(
        self,
        energy_function: Any,
        step_size: ScheduleLike | None = None,
        friction: ScheduleLike | None = None,
        noise_scale: ScheduleLike | None = None,
        dtype: Any = None,
        device: Any = None,
        backend: str | None = None,
        *,
        temperature: ScheduleLike | None = None,
        inverse_mass: Any = None,
        seed: object = None,
        bounds: BoundsLike | None = None,
        gradient_clip: float | None = None,
        gradient_clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            energy_function,
            step_size=step_size,
            noise_scale=noise_scale,
            temperature=temperature,
            dtype=dtype,
            device=device,
            backend=backend,
            seed=seed,
            friction=friction,
            inverse_mass=inverse_mass,
            bounds=bounds,
            gradient_clip=gradient_clip,
            gradient_clip_norm=gradient_clip_norm,
        )
        self.friction = friction
        self.inverse_mass = inverse_mass
        self.bounds = bounds
        self.gradient_clip = gradient_clip
        self.gradient_clip_norm = gradient_clip_norm
