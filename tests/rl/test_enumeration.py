"""Meta-gradients of policies against their objectives, with every episode enumerated.

The episodes of a decision process with three states, two actions and certain rewards are few. What
an estimator makes of each set of them, times how likely the set is, gives its expectation exactly.
With V(θ) the expected return and U(θ, D) the policy adapted to the episodes D, it should be the
gradient of one of

    J_K(θ) = E_D[V(U(θ, D))], D being K episodes of π_θ      (what is executed)
    J_∞(θ) = V(θ + α ∇V(θ))                                  (its limit as K grows)

Both are written by hand here and differentiated as they stand, P(D | θ) included. The library's
losses are means over steps, not sums: hence the rates and gradients scaled by the horizon.
"""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import mamlax
from mamlax.rl import dice, likelihood_ratio, log_likelihood
from mamlax.rl._advantages import masked_mean
from mamlax.rl._policy_learner import policy_objective

RATE = 0.7
RAW = {"discount": 1.0, "baseline_fn": None, "normalize": False}


class TablePolicy(eqx.Module):
    """Logits `[states, actions]`, for states observed as one-hot vectors."""

    logits: Any

    def __call__(self, observations):
        return mamlax.rl.Categorical(observations @ self.logits)


@dataclass(frozen=True, eq=False)
class CertainRewards(mamlax.rl.TabularMDP):
    """One and the same MDP, without noise on its rewards."""

    mdp: Any = None

    def sample_task(self, key):
        return jax.tree.map(jnp.asarray, self.mdp)

    def step(self, key, task, state, action):
        after, observation, _, ended = super().step(key, task, state, action)
        return after, observation, task.mean_rewards[state, action], ended


class Problem:
    """An MDP with all its episodes: what is true of it, by hand, and what the library records.

    Episodes are known by their index, policies by their logits.
    """

    def __init__(self, transitions, rewards, horizon, num_episodes, support_advantages=RAW):
        self.horizon, self.num_episodes = horizon, num_episodes
        self.support_advantages = support_advantages
        num_states, num_actions = rewards.shape
        self.env = CertainRewards(
            num_states, num_actions, horizon, mamlax.rl.MDP(transitions, rewards)
        )
        episodes = []
        for actions in itertools.product(range(num_actions), repeat=horizon):
            for states in itertools.product([0], *[range(num_states)] * (horizon - 1)):
                chance = np.prod(transitions[states[:-1], actions[:-1], states[1:]])
                if chance > 0:
                    episodes.append((states, actions, chance))
        states, actions, chances = map(np.array, zip(*episodes, strict=True))
        rewards = rewards[states, actions]
        to_come = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
        datasets = np.indices([len(chances)] * num_episodes).reshape(num_episodes, -1).T
        self.states, self.actions, self.chances = map(jnp.asarray, (states, actions, chances))
        self.rewards, self.to_come, self.datasets = map(jnp.asarray, (rewards, to_come, datasets))

    def log_probs(self, params):
        return jax.nn.log_softmax(params)[self.states, self.actions]

    def probabilities(self, params):
        return self.chances * jnp.exp(jnp.sum(self.log_probs(params), axis=1))

    def value(self, params):
        """V(θ)."""
        return self.probabilities(params) @ self.rewards.sum(axis=1)

    def adapted(self, params, episodes):
        """U(θ, D): a step of REINFORCE, ∇log π(a|s) being 1 − π(a|s) for a and −π(b|s) for b."""
        states, actions = self.states[episodes], self.actions[episodes]
        away = jnp.eye(2)[actions] - jax.nn.softmax(params)[states]
        advantages = self.to_come[episodes]
        if self.support_advantages is not RAW:
            advantages = self.record(params, episodes, self.support_advantages).advantages
        gradient = jnp.einsum("kt,kts,kta->sa", advantages, jnp.eye(3)[states], away)
        return params + RATE * gradient / len(episodes)

    def chances_of_datasets(self, params):
        """P(D | θ)."""
        return jnp.prod(self.probabilities(params)[self.datasets], axis=1)

    def expected_after(self, num_steps, fn, params):
        """E[fn(φ)], φ adapted to episodes of θ, then to episodes of what it had become."""
        if num_steps == 0:
            return fn(params)

        def after(episodes):
            return self.expected_after(num_steps - 1, fn, self.adapted(params, episodes))

        return jnp.tensordot(self.chances_of_datasets(params), jax.vmap(after)(self.datasets), 1)

    def finite_objective(self, num_steps, params):
        """J_K(θ)."""
        return self.expected_after(num_steps, self.value, params)

    def adapted_endlessly(self, params):
        """θ + α ∇V(θ)."""
        return params + RATE * jax.grad(self.value)(params)

    def infinite_objective(self, num_steps, params):
        """J_∞(θ)."""
        for _ in range(num_steps):
            params = self.adapted_endlessly(params)
        return self.value(params)

    def record(self, params, episodes, advantages=RAW):
        """The experience of a policy that acted in these episodes."""
        rewards = self.rewards[episodes]
        trajectory = mamlax.rl.Trajectory(
            observations=jnp.eye(self.env.num_states)[self.states[episodes]],
            actions=self.actions[episodes].astype(jnp.int32),
            log_probs=self.log_probs(params)[episodes],
            rewards=rewards,
            mask=jnp.ones(rewards.shape, bool),
            terminated=jnp.zeros(len(episodes), bool),
            unstable=jnp.zeros(len(episodes), bool),
        )
        return mamlax.rl.estimate_advantages(trajectory, **advantages)

    def record_endlessly(self, params):
        """Infinitely many episodes: each one there is, as often as it happens."""
        num_episodes = len(self.chances)
        experience = self.record(params, np.arange(num_episodes))
        weights = num_episodes * self.probabilities(params)
        return experience._replace(advantages=experience.advantages * weights[:, None])

    def learner(self, surrogate=log_likelihood, num_steps=1, **settings):
        return mamlax.rl.policy_learner(
            self.env,
            inner_optimizer=optax.sgd(RATE * self.horizon),
            num_inner_steps=num_steps,
            episodes_per_task=self.num_episodes,
            surrogate=surrogate,
            discount=1.0,
            baseline_fn=None,
            normalize_advantages=False,
            **settings,
        )


def certain(horizon=3, num_episodes=2, **settings):
    """Where an action leads is certain: 2^horizon episodes."""
    rng = np.random.default_rng(0)
    transitions = np.eye(3)[rng.integers(3, size=(3, 2))]
    return Problem(transitions, rng.normal(1, 1, (3, 2)), horizon, num_episodes, **settings)


def uncertain(horizon=3, num_episodes=1):
    """Any state may follow: 72 episodes of 3 steps."""
    rng = np.random.default_rng(0)
    transitions = rng.dirichlet(np.ones(3), size=(3, 2))
    return Problem(transitions, rng.normal(1, 1, (3, 2)), horizon, num_episodes)


def uncontrolled():
    """Any state may follow, whatever the action."""
    rng = np.random.default_rng(0)
    transitions = rng.dirichlet(np.ones(3), size=(3, 1)).repeat(2, axis=1)
    return Problem(transitions, rng.normal(1, 1, (3, 2)), 3, 1)


PROBLEMS = {"certain": certain, "uncertain": uncertain, "uncontrolled": uncontrolled}
PARAMS = np.random.default_rng(1).normal(size=(3, 2))
SURROGATES = {f.__name__: f for f in (log_likelihood, likelihood_ratio, dice)}
EXACT = "log_likelihood, corrected"
FIRST_ORDER = "log_likelihood, first order"
ESTIMATORS = {
    **{name: (surrogate, {}) for name, surrogate in SURROGATES.items()},
    **{f"{name}, corrected": (s, {"sampling_correction": True}) for name, s in SURROGATES.items()},
    FIRST_ORDER: (log_likelihood, {"first_order": True}),
}


def error(found, expected):
    """Relative to what is expected, over all components."""
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float64
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def stacked(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def up_to_the_second(fn, x):
    """Value, gradient and Hessian."""

    def first(x):
        gradient, value = jax.jacrev(lambda x: (fn(x),) * 2, has_aux=True)(x)
        return gradient, (value, gradient)

    hessian, (value, gradient) = jax.jacfwd(first, has_aux=True)(x)
    return value, gradient, hessian


# ---- the first and second derivatives of the surrogates


BASELINES = {"no baseline": np.zeros(3), "a baseline": np.array([2.0, -1.0, 0.5])}
ACTING = {"on policy": PARAMS, "off policy": np.random.default_rng(2).normal(size=(3, 2))}
ORDERS = ["value", "gradient", "hessian"]


@functools.cache
def derivatives(problem):
    """Of the return, less that of the acting policy, and of what each surrogate says of it.

    The latter is expected over the datasets of the acting policy. The baseline is a value for each
    state, not fitted to the episodes at hand.
    """
    problem = PROBLEMS[problem]()
    surrogates = {"clipped": mamlax.rl.clipped_likelihood_ratio, **SURROGATES}

    def gains(params, acting, baseline):
        def of_dataset(episodes):
            values = lambda observations, *_: observations @ baseline  # noqa: E731
            experience = problem.record(acting, episodes, {**RAW, "baseline_fn": values})
            policy = TablePolicy(params)
            return [-problem.horizon * s(policy, experience) for s in surrogates.values()]

        chances = problem.chances_of_datasets(acting)
        expected = [chances @ gains for gains in jax.vmap(of_dataset)(problem.datasets)]
        return jnp.stack([problem.value(params) - problem.value(acting), *expected])

    def of_one(acting, baseline):
        return up_to_the_second(lambda params: gains(params, acting, baseline), PARAMS)

    of_all = jax.jit(jax.vmap(jax.vmap(of_one, (None, 0)), (0, None)))
    acting, baselines = (np.stack(list(x.values())) for x in (ACTING, BASELINES))
    found = jax.tree.map(np.asarray, of_all(acting, baselines))
    return {
        (who, baseline, name): {order: x[a, b, n] for order, x in zip(ORDERS, found, strict=True)}
        for a, who in enumerate(ACTING)
        for b, baseline in enumerate(BASELINES)
        for n, name in enumerate(["return", *surrogates])
    }


@pytest.mark.parametrize("problem", PROBLEMS)
@jax.enable_x64(True)
def test_every_episode_is_there(problem):
    """Guards the tests below: their V is that of dynamic programming."""
    problem = PROBLEMS[problem]()
    assert len(problem.chances) == (8 if problem.env.mdp.transitions.max() == 1 else 72)
    values = np.zeros(3)
    for _ in range(problem.horizon):
        future = problem.env.mdp.mean_rewards + problem.env.mdp.transitions @ values
        values = np.sum(scipy.special.softmax(PARAMS, axis=1) * future, axis=1)
    chances, value = jax.jit(lambda x: (problem.probabilities(x), problem.value(x)))(PARAMS)
    np.testing.assert_allclose(chances.sum(), 1.0, rtol=1e-13)
    np.testing.assert_allclose(value, values[0], rtol=1e-13)


def derivative_error(problem, surrogate, order, acting="on policy", baseline="no baseline"):
    found = derivatives(problem)
    expected = found[acting, baseline, "return"][order]
    return error(found[acting, baseline, surrogate][order], expected)


@pytest.mark.parametrize("surrogate", [*SURROGATES, "clipped"])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("problem", ["certain", "uncertain"])
@jax.enable_x64(True)
def test_every_surrogate_has_the_gradient_of_the_return(problem, baseline, surrogate):
    assert derivative_error(problem, surrogate, "gradient", baseline=baseline) < 1e-10


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("problem", ["certain", "uncertain"])
@jax.enable_x64(True)
def test_dice_has_the_hessian_of_the_return(problem, baseline):
    assert derivative_error(problem, "dice", "hessian", baseline=baseline) < 1e-10


@pytest.mark.parametrize("surrogate", ["log_likelihood", "likelihood_ratio"])
@pytest.mark.parametrize("problem", ["certain", "uncertain"])
@jax.enable_x64(True)
def test_only_dice_has_the_hessian_of_the_return(problem, surrogate):
    assert derivative_error(problem, surrogate, "hessian") > 0.1


@jax.enable_x64(True)
@pytest.mark.slow
def test_without_control_the_likelihood_ratio_has_the_hessian_of_the_return():
    """Where actions do not decide what follows, products of different steps cancel."""
    assert derivative_error("uncontrolled", "likelihood_ratio", "hessian") < 1e-10
    assert derivative_error("uncontrolled", "dice", "hessian") < 1e-10
    assert derivative_error("uncontrolled", "log_likelihood", "hessian") > 0.1


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("order", ORDERS)
@jax.enable_x64(True)
def test_dice_of_episodes_of_another_policy(order, baseline):
    """It is the difference of the returns, however far the policy has moved since it acted."""
    moved = functools.partial(
        derivative_error, "certain", order=order, acting="off policy", baseline=baseline
    )
    assert moved("dice") < 1e-10
    assert moved("likelihood_ratio") > 0.1


# ---- meta-gradients


def meta_gradient(problem, learner, params, exploration, expected_return=0.0):
    """The library's, of the return."""

    def loss_fn(policy):
        score = _reward_per_step(exploration.query) - expected_return / problem.horizon
        return policy_objective(learner, policy, exploration, score)[0]

    return -problem.horizon * jax.grad(loss_fn)(TablePolicy(params)).logits


CASES = {
    "one step": (certain, {}, 1),
    "two steps": (uncertain, {"horizon": 2}, 2),
    # the library's own: from a fitted baseline, and normalized
    "other advantages": (certain, {"support_advantages": {}}, 1),
}


@functools.cache
def finite(case):
    """Expected meta-gradients, and what they should be.

    Expected over the datasets of every inner step, and the episodes of the adapted policy.
    """
    make, settings, num_steps = CASES[case]
    problem = make(**settings)
    some = [EXACT] if case == "other advantages" else ESTIMATORS
    learners = {
        name: problem.learner(surrogate, num_steps, **way)
        for name, (surrogate, way) in ESTIMATORS.items()
        if name in some
    }
    counts = [len(problem.datasets)] * num_steps + [len(problem.chances)]
    paths = np.indices(counts).reshape(len(counts), -1).T

    def along(params, datasets, query):
        acting, chance, support = params, 1.0, []
        for episodes in datasets:
            chance *= jnp.prod(problem.probabilities(acting)[episodes])
            support.append(problem.record(acting, episodes, problem.support_advantages))
            acting = problem.adapted(acting, episodes)
        chance *= problem.probabilities(acting)[query[0]]
        query = problem.record(acting, query)
        exploration = mamlax.rl.Exploration(stacked(support), query, None)
        return chance, {
            name: meta_gradient(problem, learner, params, exploration)
            for name, learner in learners.items()
        }

    @jax.jit
    def everything(params, datasets, queries):
        chances, gradients = jax.vmap(along, (None, 0, 0))(params, datasets, queries)
        expected = jax.tree.map(lambda x: jnp.tensordot(chances, x, 1), gradients)
        objective = functools.partial(problem.finite_objective, num_steps)
        after = problem.expected_after(num_steps, jax.grad(problem.value), params)
        return jnp.sum(chances), expected, jax.grad(objective)(params), after

    found = everything(PARAMS, problem.datasets[paths[:, :-1]], paths[:, -1:])
    chance, expected, exact, after = jax.tree.map(np.asarray, found)
    np.testing.assert_allclose(chance, 1.0, rtol=1e-12)
    return expected, exact, after


@pytest.mark.parametrize("case", CASES)
@jax.enable_x64(True)
@pytest.mark.slow
def test_corrected_log_likelihood_has_the_gradient_of_what_is_executed(case):
    """Whatever advantages the inner loop makes of its episodes."""
    found, exact, _ = finite(case)
    assert error(found[EXACT], exact) < 1e-10


@pytest.mark.parametrize("estimator", [x for x in ESTIMATORS if x != EXACT])
@pytest.mark.parametrize("case", ["one step", "two steps"])
@jax.enable_x64(True)
@pytest.mark.slow
def test_no_other_estimator_has_the_gradient_of_what_is_executed(case, estimator):
    found, exact, _ = finite(case)
    assert error(found[estimator], exact) > 0.01


@pytest.mark.parametrize("case", ["one step", "two steps"])
@jax.enable_x64(True)
@pytest.mark.slow
def test_first_order_has_the_gradient_of_the_return_after_adaptation(case):
    found, _, after = finite(case)
    assert error(found[FIRST_ORDER], after) < 1e-10


@functools.cache
def infinite(problem, num_steps):
    """Meta-gradients from infinitely many episodes of every policy, and what they should be."""
    problem = PROBLEMS[problem]()
    pairs = [(name, "likelihood_ratio") for name in SURROGATES]
    pairs += [("dice", outer) for outer in ("log_likelihood", "dice")]

    @jax.jit
    def everything(params):
        acting, support = params, []
        for _ in range(num_steps):
            support.append(problem.record_endlessly(acting))
            acting = problem.adapted_endlessly(acting)
        query = problem.record_endlessly(acting)
        exploration = mamlax.rl.Exploration(stacked(support), query, None)
        gradients = []
        for name, outer in pairs:
            learner = problem.learner(
                SURROGATES[name], num_steps, outer_surrogate=SURROGATES[outer]
            )
            gradients.append(meta_gradient(problem, learner, params, exploration))
        objective = functools.partial(problem.infinite_objective, num_steps)
        return gradients, jax.grad(objective)(params), jax.grad(problem.value)(acting)

    gradients, exact, after = jax.tree.map(np.asarray, everything(PARAMS))
    return dict(zip(pairs, gradients, strict=True)), exact, after


@pytest.mark.parametrize("outer_surrogate", SURROGATES)
@pytest.mark.parametrize(("problem", "num_steps"), [("certain", 1), ("uncertain", 2)])
@jax.enable_x64(True)
@pytest.mark.slow
def test_dice_has_the_gradient_of_infinitely_many_episodes(problem, num_steps, outer_surrogate):
    found, exact, _ = infinite(problem, num_steps)
    assert error(found["dice", outer_surrogate], exact) < 1e-10


@pytest.mark.parametrize("surrogate", ["log_likelihood", "likelihood_ratio"])
@pytest.mark.parametrize(("problem", "num_steps"), [("certain", 1), ("uncertain", 2)])
@jax.enable_x64(True)
@pytest.mark.slow
def test_only_dice_has_the_gradient_of_infinitely_many_episodes(problem, num_steps, surrogate):
    found, exact, _ = infinite(problem, num_steps)
    assert error(found[surrogate, "likelihood_ratio"], exact) > 0.01


@pytest.mark.parametrize("surrogate", SURROGATES)
@jax.enable_x64(True)
@pytest.mark.slow
def test_infinitely_many_episodes_have_the_expected_hessian(surrogate):
    """(I + α E[∇²]) ∇V(θ + α ∇V(θ)): so the weights of episodes stand for their frequency."""
    found, _, after = infinite("certain", 1)
    hessian = derivatives("certain")["on policy", "no baseline", surrogate]["hessian"]
    expected = after + RATE * np.tensordot(hessian, after, 2)
    assert error(found[surrogate, "likelihood_ratio"], expected) < 1e-10


@jax.enable_x64(True)
@pytest.mark.slow
def test_of_one_pull_dice_is_the_likelihood_ratio(key):
    """On any episodes, with any advantages, of any policy."""
    env = mamlax.rl.BernoulliBandit(num_arms=4)
    acting, params = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 4)))

    @jax.jit
    def everything(params):
        task = env.sample_task(key)
        trajectory = mamlax.rl.rollout(key, env, task, TablePolicy(acting), num_episodes=20)
        advantages = jax.random.normal(key, trajectory.rewards.shape)
        experience = mamlax.rl.Experience(trajectory, advantages, jnp.zeros(()), jnp.ones(()))

        def losses(params):
            return jnp.stack([s(TablePolicy(params), experience) for s in SURROGATES.values()])

        return up_to_the_second(losses, params)[1:]

    for log_likelihoods, ratios, dices in map(np.asarray, everything(params)):
        assert error(dices, ratios) < 1e-12
        assert error(log_likelihoods, ratios) > 0.1


def standard_errors(gradients, exact):
    """How many of them the mean is away from what is exact. They must be small."""
    gradients, exact = np.asarray(gradients), np.asarray(exact)
    one = gradients.std(axis=0) / np.sqrt(len(gradients))
    assert np.linalg.norm(one) < 0.05 * np.linalg.norm(exact)
    return np.abs(gradients.mean(axis=0) - exact) / one


@jax.enable_x64(True)
@pytest.mark.slow
def test_meta_gradients_of_explorations_average_to_that_of_what_is_executed(key):
    """20 000 of them, sampled by the library itself."""
    problem, policy = uncertain(num_episodes=2), TablePolicy(jnp.asarray(PARAMS))
    learners = [problem.learner(sampling_correction=corrected) for corrected in (True, False)]

    def of_one(params, key):
        exploration = learners[0].explore(key, policy, learners[0].sample_task(key))
        exploration = exploration._replace(policy=None)
        expected = problem.value(params)  # a constant, which only lessens the variance
        return [
            meta_gradient(problem, learner, params, exploration, expected) for learner in learners
        ]

    @jax.jit
    def everything(params, keys):
        objective = functools.partial(problem.finite_objective, 1)
        return jax.vmap(of_one, (None, 0))(params, keys), jax.grad(objective)(params)

    (corrected, uncorrected), exact = everything(PARAMS, jax.random.split(key, 20_000))
    assert standard_errors(corrected, exact).max() < 4
    assert standard_errors(uncorrected, exact).max() > 10


@jax.enable_x64(True)
@pytest.mark.slow
def test_steps_of_policy_gradient_average_to_the_gradient_of_what_is_executed(key):
    """With two inner steps, and with the scores of the outer loop: how much better than others."""
    problem, policy = uncertain(), TablePolicy(jnp.asarray(PARAMS))
    learner = problem.learner(num_steps=2, sampling_correction=True)
    loop = mamlax.rl.policy_gradient(learner, optax.sgd(1.0), meta_batch_size=4)

    def step(key):
        state, _ = loop.step(key, loop.init(policy))
        return problem.horizon * (state.meta_params.logits - policy.logits)

    @jax.jit
    def everything(params, keys):
        objective = functools.partial(problem.finite_objective, 2)
        return jax.vmap(step)(keys), jax.grad(objective)(params)

    assert standard_errors(*everything(PARAMS, jax.random.split(key, 5_000))).max() < 4


def _reward_per_step(experience):
    return masked_mean(experience.trajectory.rewards, experience.trajectory.mask)
