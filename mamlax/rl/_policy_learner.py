"""The parts of MAML for policies (the paper's Algorithm 3), for one task.

    D₀ ~ π_θ,   φ₁ = φ₀ + update(∇ℒ(φ₀, D₀)),   D₁ ~ π_φ₁,  …      explore: act, adapt, act again
    φ(θ) = inner_loop(θ, D₀, D₁, …)                                adapt: the same, replayed
    ℒ(φ(θ), D_query)                                               objective

Episodes depend on the policy that acts. So they are recorded first. The inner loop is then replayed
on the recorded episodes, as a function of θ that an outer step differentiates or linearizes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._types import Adaptation, LossFn
from ..algorithms._inner_loop import Remat, inner_loop
from ..algorithms._optimizer import check_differentiable
from ..algorithms._over_tasks import map_tasks
from ..algorithms._params import split
from ._advantages import Experience, check_discounts, estimate_advantages
from ._baseline import BaselineFn, linear_baseline
from ._environment import TaskEnv, acts_together, check_auto_reset, check_environment
from ._moments import moments_of, without_moments
from ._policy import check_policy
from ._rollout import rollout
from ._surrogates import likelihood_ratio, log_likelihood


class Exploration(NamedTuple):
    """The episodes recorded in one task.

    Attributes:
        support: `[steps, ...]`, the experience of each inner step. None without inner steps.
        query: the experience of the adapted policy.
        policy: the adapted policy.
    """

    support: PyTree
    query: Experience
    policy: PyTree


class PolicyLearner(NamedTuple):
    """How a policy learns a task, as pure functions.

    Attributes:
        sample_task: `sample_task(key) -> task`.
        explore: `explore(key, policy, task, *, num_inner_steps=None) -> Exploration`. It acts and
            adapts.
        adapt: `adapt(policy, support, *, num_inner_steps=None, probe_fn=None, first_order=None)
            -> Adaptation`. It replays an exploration, as a function of the policy.
        outer_surrogate: the loss of an adapted policy on its episodes.
        step_weights: `[steps]`, how much the policy after each inner step counts in the outer loss.
            None: only the last policy counts.
        sampling_correction: whether the meta-gradient includes how the policy changes its support.
        max_unstable_share: training stops if a larger share of an outer step's episodes breaks
            down.
        acts_together: whether the episodes of all tasks are collected at the same time, as the
            environment requests (`acts_together`), however few tasks are differentiated at once.
        check: `check(policy)` raises if the policy does not match the environment.
    """

    sample_task: Callable[[PyTree], PyTree]
    explore: Callable[..., Exploration]
    adapt: Callable[..., Adaptation]
    outer_surrogate: LossFn
    step_weights: tuple[float, ...] | None
    sampling_correction: bool
    max_unstable_share: float
    acts_together: bool
    check: Callable[[Any], None]


def policy_learner(
    env: TaskEnv,
    *,
    inner_optimizer: optax.GradientTransformation,
    num_inner_steps: int,
    episodes_per_task: int,
    surrogate: LossFn = log_likelihood,
    outer_surrogate: LossFn = likelihood_ratio,
    step_weights: tuple[float, ...] | None = None,
    first_order: bool = False,
    sampling_correction: bool = False,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
    baseline_fn: BaselineFn | None = linear_baseline,
    normalize_advantages: bool = True,
    auto_reset: bool = False,
    max_unstable_share: float = 0.1,
    remat: Remat = "none",
) -> PolicyLearner:
    """MAML for policies (Algorithm 3), for an outer loop such as `maml_trpo`.

    Args:
        env: the environment.
        inner_optimizer: an optax transformation, e.g. `optax.sgd(0.1)`.
        num_inner_steps: number of inner steps in training. 0 is joint training on all tasks, the
            paper's pretrained baseline.
        episodes_per_task: number of episodes before each inner step, and after the last.
        surrogate: the loss of the inner loop: `log_likelihood` (the paper), `likelihood_ratio`,
            `dice`, or `loss_fn(policy, experience) -> scalar`.
        outer_surrogate: the loss of an adapted policy.
        step_weights: how much the policy after each inner step counts in the outer loss, one weight
            per step (MAML++'s multi-step loss). This needs no further episodes: the episodes for
            the next inner step judge the policy that acted in them. None: only the last policy
            counts.
        first_order: treat inner gradients as constants.
        sampling_correction: add the gradient of the log-probability of the support episodes, times
            the return after adapting to them (E-MAML). The policy then also learns to collect
            episodes that are useful to adapt to. With `log_likelihood`, this makes the
            meta-gradient unbiased (if `discount` is 1, all episodes have one length, and the
            query's advantages are not normalized), but increases its variance. With `dice`, it
            would count twice. The correction is right at the policy that acted. Several gradient
            steps on the same episodes move away from it, and the trust region limits the adapted
            policies, not the support.
        discount: γ.
        gae_lambda: λ of generalized advantage estimation.
        baseline_fn: see `estimate_advantages`. If the policy normalizes observations, it gets them
            normalized.
        normalize_advantages: scale the advantages of a task to mean 0 and standard deviation 1.
        auto_reset: start a new episode when one has ended, so that each task yields
            `episodes_per_task` × horizon steps; see `rollout`.
        max_unstable_share: training stops if a larger share of an outer step's episodes breaks
            down. An episode breaks down if a reward or an observation is not finite; it is cut off
            before that step.
        remat: what to recompute instead of storing in the inner loop; see `inner_loop`.

    Raises:
        ValueError: if a number is out of range, the environment is not as it declares, or
            `auto_reset` is set and the environment hides its states.
        TypeError: if the environment lacks something.

    Example:
        >>> import jax, mamlax, optax
        >>> env = mamlax.rl.PointNavigation()
        >>> learner = mamlax.rl.policy_learner(
        ...     env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=5
        ... )
        >>> policy = mamlax.rl.mlp_policy(jax.random.key(0), env)
        >>> task = env.sample_task(jax.random.key(1))
        >>> exploration = jax.jit(learner.explore)(jax.random.key(2), policy, task)
        >>> exploration.query.trajectory.rewards.shape
        (5, 100)

    References:
        Finn, Abbeel & Levine, ICML 2017, Algorithm 3. Sampling correction: Stadie et al., Some
        Considerations on Learning to Explore via Meta-Reinforcement Learning, NeurIPS 2018;
        Fallah et al., On the Convergence Theory of Debiased MAML, NeurIPS 2021.
    """
    if num_inner_steps < 0 or episodes_per_task < 1:
        raise ValueError(
            "num_inner_steps must be 0 or more and episodes_per_task 1 or more, got "
            f"{num_inner_steps} and {episodes_per_task}."
        )
    if step_weights is not None and (
        len(step_weights) != num_inner_steps
        or min(step_weights, default=0) < 0
        or not sum(step_weights) > 0
    ):
        raise ValueError(
            f"step_weights must be one number per inner step, {num_inner_steps} of them, none "
            f"negative and not all zero, got {step_weights}."
        )
    if sampling_correction and step_weights is not None:
        raise ValueError(
            "sampling_correction counts the return after the last inner step only: leave out "
            "step_weights."
        )
    if not 0 <= max_unstable_share <= 1:
        raise ValueError(f"max_unstable_share must be in [0, 1], got {max_unstable_share}.")
    check_discounts(discount, gae_lambda)
    check_environment(env)
    if auto_reset:
        check_auto_reset(env)
        if baseline_fn is None:
            raise ValueError("auto_reset=True needs a baseline: it stands for what a row cuts off.")
    inner_optimizer = without_moments(inner_optimizer)
    default_num_inner_steps, default_first_order = num_inner_steps, first_order
    loop = functools.partial(inner_loop, surrogate, inner_optimizer, remat=remat)
    act_out = functools.partial(rollout, num_episodes=episodes_per_task, auto_reset=auto_reset)

    def explore(key, policy, task, *, num_inner_steps=None):
        if num_inner_steps is None:
            num_inner_steps = default_num_inner_steps
        keys = jax.random.split(key, num_inner_steps + 1)

        def act(policy, key):
            return estimate_advantages(
                act_out(key, env, task, policy),
                discount=discount,
                gae_lambda=gae_lambda,
                baseline_fn=baseline_fn,
                normalize=normalize_advantages,
                moments=moments_of(policy),
            )

        adaptation = loop(
            policy, keys[:-1], num_steps=num_inner_steps, support_per_step=True, record_fn=act
        )
        query = act(adaptation.params, keys[-1])
        return Exploration(adaptation.recorded, query, adaptation.params)

    def adapt(policy, support, *, num_inner_steps=None, probe_fn=None, first_order=None):
        first_order = default_first_order if first_order is None else first_order
        if not first_order:
            check_differentiable(inner_optimizer, split(policy)[0])
        return loop(
            policy,
            support,
            num_steps=default_num_inner_steps if num_inner_steps is None else num_inner_steps,
            probe_fn=probe_fn,
            support_per_step=True,
            first_order=first_order,
        )

    return PolicyLearner(
        sample_task=env.sample_task,
        explore=explore,
        adapt=adapt,
        outer_surrogate=outer_surrogate,
        step_weights=step_weights,
        sampling_correction=sampling_correction,
        max_unstable_share=max_unstable_share,
        acts_together=acts_together(env),
        check=functools.partial(check_policy, env=env),
    )


class Replay(NamedTuple):
    """A recorded adaptation, as a function of the policy before it.

    Attributes:
        acting: distributions of the policies that acted in the support, at its observations,
            `[steps, ...]`. None without inner steps.
        judged: distributions of the policies that the outer loss judges, at the observations of
            `experiences`, `[judged, ...]`: the last policy, or the policies after each inner step.
        losses: `[judged]`, the outer surrogates of these policies.
        experiences: `[judged, ...]`, the episodes in which they acted.
        weights: `[judged]`, how much each policy counts; they sum to 1.
    """

    acting: Any
    judged: Any
    losses: Any
    experiences: Experience
    weights: PyTree


def replay(
    learner: PolicyLearner,
    policy: PyTree,
    exploration: Exploration,
    *,
    first_order: bool | None = None,
) -> Replay:
    """Adapt to the recorded support, and judge by the episodes recorded afterwards."""
    _, rest = split(policy)
    adaptation = learner.adapt(
        policy,
        exploration.support,
        probe_fn=lambda policy: split(policy)[0],
        first_order=first_order,
    )

    def act(each):
        learnable, experience = each
        return eqx.combine(learnable, rest)(experience.trajectory.observations)

    def judge(each):
        learnable, experience = each
        return act(each), learner.outer_surrogate(eqx.combine(learnable, rest), experience)

    support, last = exploration.support, jax.tree.map(lambda x: x[None], exploration.query)
    if learner.step_weights is None or support is None:
        after = jax.tree.map(lambda x: x[-1:], adaptation.probes)
        experiences, weights = last, jnp.ones(1)
    else:
        after = jax.tree.map(lambda x: x[1:], adaptation.probes)
        experiences = jax.tree.map(lambda x, y: jnp.concatenate([x[1:], y]), support, last)
        weights = jnp.array(learner.step_weights) / sum(learner.step_weights)
    judged, losses = map_tasks(judge, (after, experiences))
    acting = None
    if support is not None:
        acting = map_tasks(act, (jax.tree.map(lambda x: x[:-1], adaptation.probes), support))
    return Replay(acting, judged, losses, experiences, weights)


def policy_objective(
    learner: PolicyLearner, policy: PyTree, exploration: Exploration, score: Any
) -> tuple[Any, Replay]:
    """The outer loss of one task, as a function of the policy before adaptation.

    Args:
        learner: how the task is learned.
        policy: θ.
        exploration: the recorded episodes.
        score: how much better than expected the adapted policy was, per step and in the units of
            the query's advantages. It is the weight of the sampling correction.

    Returns:
        The loss, and the replay that it was computed from.
    """
    replayed = replay(learner, policy, exploration)
    loss = jnp.sum(replayed.weights * replayed.losses)
    if learner.sampling_correction and exploration.support is not None:
        trajectory = exploration.support.trajectory
        # against the recorded ones, so that the value is 0 where nothing has moved
        log_ratios = replayed.acting.log_prob(trajectory.actions) - trajectory.log_probs
        log_ratio = jnp.sum(jnp.where(trajectory.mask, log_ratios, 0.0))
        loss -= jax.lax.stop_gradient(score) * log_ratio
    return loss, replayed
