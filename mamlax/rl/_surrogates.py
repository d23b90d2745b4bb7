"""Surrogates: losses of recorded episodes whose gradient is the policy gradient.

Each is a `loss_fn(policy, experience) -> scalar`, so the inner loop is the same as for all other
algorithms. At the policy that acted, all have the same gradient, −mean(∇log π · A). They differ in
their second derivatives, which the meta-gradient needs, and away from the policy that acted.

Means are over the steps taken. If episodes end early, the number of steps is random. This biases a
mean over few episodes; the bias falls as one over the number of episodes.
"""

import jax.numpy as jnp
from jaxtyping import PyTree

from ._advantages import Experience, masked_mean


def log_likelihood(policy: PyTree, experience: Experience) -> PyTree:
    """−mean(log π(a|s) · A): the paper's inner loss (REINFORCE).

    Its Hessian is not that of the expected return: it ignores that the policy changes which
    episodes occur. With `sampling_correction`, the meta-gradient is nevertheless exactly that of
    the expected return after adapting to episodes of the initial policy.

    Args:
        policy: the policy.
        experience: the recorded episodes and their advantages.

    References:
        Finn, Abbeel & Levine, ICML 2017, equation 4 and Algorithm 3.
    """
    log_probs = policy(experience.trajectory.observations).log_prob(experience.trajectory.actions)
    return -masked_mean(log_probs * experience.advantages, experience.trajectory.mask)


def likelihood_ratio(policy: PyTree, experience: Experience) -> PyTree:
    """−mean(π(a|s)/π₀(a|s) · A), where π₀ is the policy that acted: low variance curvature (LVC).

    Its Hessian has the curvature within each step, but leaves out products of different steps. This
    gives less variance than `dice`, but some bias. It is also the outer surrogate of the trust
    region.

    Args:
        policy: the policy.
        experience: the recorded episodes and their advantages.

    References:
        Rothfuss et al., ProMP: Proximal Meta-Policy Search, ICLR 2019, section 5.
    """
    return -masked_mean(_ratios(policy, experience) * experience.advantages, _mask(experience))


def clipped_likelihood_ratio(
    policy: PyTree, experience: Experience, *, clip: float = 0.3
) -> PyTree:
    """−mean(min(ρ A, clip(ρ, 1 − c, 1 + c) A)) with ρ = π(a|s)/π₀(a|s): PPO's clipped loss.

    The policy gains nothing from moving far from the policy that acted.

    Args:
        policy: the policy.
        experience: the recorded episodes and their advantages.
        clip: c.

    References:
        Schulman et al., Proximal Policy Optimization Algorithms, 2017, equation 7.
    """
    ratios = _ratios(policy, experience)
    gains = jnp.minimum(
        ratios * experience.advantages,
        jnp.clip(ratios, 1.0 - clip, 1.0 + clip) * experience.advantages,
    )
    return -masked_mean(gains, _mask(experience))


def dice(policy: PyTree, experience: Experience) -> PyTree:
    """−mean((Πₖ≤ₜ ρₖ − Πₖ<ₜ ρₖ) · Aₜ), where ρₖ are the ratios of the steps so far: loaded DiCE.

    Gradient and Hessian are unbiased estimates of those of the expected return, with any baseline
    that does not depend on these episodes, if γ and λ are 1, all episodes have one length, and
    advantages are not normalized. The variance grows with the horizon.

    Args:
        policy: the policy.
        experience: the recorded episodes and their advantages.

    References:
        Foerster et al., DiCE: The Infinitely Differentiable Monte Carlo Estimator, ICML 2018;
        Farquhar et al., Loaded DiCE, NeurIPS 2019.
    """
    time = experience.trajectory.time[:, :-1]
    so_far = jnp.cumsum(_log_ratios(policy, experience), axis=-1)
    until = jnp.pad(so_far, ((0, 0), (1, 0)))  # before each step, and after the last
    began = jnp.take_along_axis(until, jnp.arange(time.shape[1])[None] - time, axis=1)
    products, before = jnp.exp(so_far - began), jnp.exp(until[:, :-1] - began)
    return -masked_mean((products - before) * experience.advantages, _mask(experience))


def _mask(experience: Experience) -> PyTree:
    return experience.trajectory.mask


def _log_ratios(policy: PyTree, experience: Experience) -> PyTree:
    trajectory = experience.trajectory
    log_probs = policy(trajectory.observations).log_prob(trajectory.actions)
    # the recorded ones, not stop_gradient of these: the policy may have moved since
    return jnp.where(trajectory.mask, log_probs - trajectory.log_probs, 0.0)


def _ratios(policy: PyTree, experience: Experience) -> PyTree:
    return jnp.exp(_log_ratios(policy, experience))
