"""Samplers whose steps end in a Metropolis decision, so that their law is exact."""

from __future__ import annotations

from typing import Any

from isotherm._planning.arguments import BoundsLike, ScheduleLike
from isotherm._planning.keywords import knows_keywords
from isotherm._plans.plan import DIVERGENCE_THRESHOLD
from isotherm._samplers.base import Sampler


class MALA(Sampler):
    """The Metropolis-adjusted Langevin algorithm: exact sampling of exp(-U/noise_scale²).

    The proposal is x - η M⁻¹∇U(x) + noise_scale √(2η) M⁻½ ξ, that of `LangevinDynamics`, and is
    accepted or not so that the law is exact for any step size (Roberts and Tweedie, Bernoulli 2,
    1996, section 1.4.1). An acceptance of 0.574 is best in high dimension (Roberts and Rosenthal,
    JRSS B 60, 1998).

    Parameters
    ----------
    energy_function : callable
        U; see `LangevinDynamics`. Its value is needed, not only its gradient.
    step_size : float, array or callable, optional
        η > 0, as for `LangevinDynamics`; needed to sample.
    noise_scale, temperature, dtype, device, backend, inverse_mass, seed
        See `LangevinDynamics`.
    divergence_threshold : float
        A step whose |ΔH|/noise_scale² is larger counts as diverging.
    bounds, gradient_clip, gradient_clip_norm
        See `LangevinDynamics`. The law stays exact: walls that turn momenta, and kicks by clipped
        gradients, keep volumes and can be run backwards, and U itself decides.

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> sampler = isotherm.MALA(isotherm.RosenbrockEnergy(b=5.0), step_size=0.005)
    >>> samples, info = sampler.sample_chain(
    ...     dim=2, n_samples=100, n_steps=200, seed=0, return_info=True
    ... )
    >>> samples.shape, info.acceptance_rate > 0.8
    ((100, 2), True)
    """

    name = "mala"

    @knows_keywords
    def __init__(
        self,
        energy_function: Any,
        step_size: ScheduleLike | None = None,
        noise_scale: ScheduleLike | None = None,
        dtype: Any = None,
        device: Any = None,
        backend: str | None = None,
        *,
        temperature: ScheduleLike | None = None,
        inverse_mass: Any = None,
        seed: object = None,
        divergence_threshold: float = DIVERGENCE_THRESHOLD,
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
            inverse_mass=inverse_mass,
            divergence_threshold=divergence_threshold,
            bounds=bounds,
            gradient_clip=gradient_clip,
            gradient_clip_norm=gradient_clip_norm,
        )
        self.inverse_mass = inverse_mass
        self.divergence_threshold = divergence_threshold
        self.bounds = bounds
        self.gradient_clip = gradient_clip
        self.gradient_clip_norm = gradient_clip_norm


class HamiltonianMonteCarlo(Sampler):
    """Hamiltonian Monte Carlo: exact sampling of exp(-U/noise_scale²) by trajectories.

    A step draws a momentum, follows Hamilton's equations for some leapfrog substeps, and accepts
    where they end or stays (Neal, "MCMC using Hamiltonian dynamics", 2011). The number of substeps
    is jittered, the same for all chains. With friction the momentum is refreshed in part between
    the substeps: Metropolis-adjusted Langevin trajectories (Riou-Durand and Vogrinc, 2022). An
    acceptance of 0.651 is best in high dimension (Beskos et al., Bernoulli 19, 2013), and 0.8 on
    most posteriors.

    Parameters
    ----------
    energy_function : callable
        U; see `LangevinDynamics`. Its value is needed, not only its gradient.
    step_size : float, array or callable, optional
        h > 0 of a leapfrog substep, a time; needed to sample.
    n_leapfrog : int, array or callable, optional
        Substeps of a trajectory, before jitter; 10 by default.
    jitter : float
        In [0, 1]: step t takes max(1, ⌈n_leapfrog·(1 - jitter·(1 - h(t)))⌉) substeps with h(t) in
        (0, 1) the base-2 radical inverse of t + 1.
    friction : float, array or callable
        γ ≥ 0, of a unit of time.
    noise_scale, temperature, dtype, device, backend, inverse_mass, seed
        See `LangevinDynamics`; momenta have the law N(0, noise_scale² M).
    divergence_threshold : float
        A step whose |ΔH|/noise_scale² is larger counts as diverging.
    bounds, gradient_clip, gradient_clip_norm
        See `LangevinDynamics`. The law stays exact: walls that turn momenta, and kicks by clipped
        gradients, keep volumes and can be run backwards, and U itself decides.

    Raises
    ------
    InputError
        An argument is not usable.

    Examples
    --------
    >>> import isotherm
    >>> energy = isotherm.GaussianEnergy(mean=[1.0, -1.0], cov=[[1.0, 0.5], [0.5, 2.0]])
    >>> sampler = isotherm.HamiltonianMonteCarlo(energy, step_size=0.4, n_leapfrog=8)
    >>> sampler.sample_chain(n_samples=1000, n_steps=50, seed=0).shape
    (1000, 2)
    """

    name = "hmc"
    exact = "hmc"

    @knows_keywords
    def __init__(
        self,
        energy_function: Any,
        step_size: ScheduleLike | None = None,
        n_leapfrog: ScheduleLike | None = None,
        jitter: float = 1.0,
        friction: ScheduleLike = 0.0,
        noise_scale: ScheduleLike | None = None,
        dtype: Any = None,
        device: Any = None,
        backend: str | None = None,
        *,
        temperature: ScheduleLike | None = None,
        inverse_mass: Any = None,
        seed: object = None,
        divergence_threshold: float = DIVERGENCE_THRESHOLD,
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
            n_leapfrog=n_leapfrog,
            jitter=jitter,
            friction=friction,
            inverse_mass=inverse_mass,
            divergence_threshold=divergence_threshold,
            bounds=bounds,
            gradient_clip=gradient_clip,
            gradient_clip_norm=gradient_clip_norm,
        )
        self.n_leapfrog = n_leapfrog
        self.jitter = jitter
        self.friction = friction
        self.inverse_mass = inverse_mass
        self.divergence_threshold = divergence_threshold
        self.bounds = bounds
        self.gradient_clip = gradient_clip
        self.gradient_clip_norm = gradient_clip_norm
