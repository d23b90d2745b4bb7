"""Recipes of reinforcement learning."""

from typing import Any

from ._control import (
    BanditProblem,
    HalfCheetahProblem,
    NavigationProblem,
    TabularMDPProblem,
)
from ._recipe import Evidence, PolicyRecipe, Recipe


def _policy(
    name: str,
    summary: str,
    paper: str,
    expected: str,
    *,
    measured: str = "",
    duration: str = "",
    **settings: Any,
) -> Recipe:
    evidence = Evidence(summary, paper, expected, measured, duration)
    # the paper's log-likelihood has the wrong second derivatives: with it later inner steps are
    # worse, and in the bandit the policy stops exploring; see docs/algorithms/rl.md
    settings = {"surrogate": "likelihood-ratio", "num_test_inner_steps": 4, **settings}
    return PolicyRecipe(
        name=name, evidence=evidence, num_inner_steps=1, task_batch_size=1, **settings
    )


def _navigation(name: str, summary: str, *, num_outer_steps: int = 150, **settings: Any) -> Recipe:
    return _policy(
        name,
        summary,
        "Finn et al. 2017, section 5.3 and figure 4",
        "return -40.4 before, -11.7 after 1 step, -3.2 after 3",
        problem=NavigationProblem(),
        inner_learning_rate=0.5,
        meta_batch_size=20,
        num_outer_steps=num_outer_steps,
        fisher_fraction=0.25,  # a matrix from all episodes costs more
        num_conjugate_gradient_steps=3,  # with 10, later inner steps are worse
        num_test_tasks=40,
        # later inner steps get worse again once the policy explores less: keep the best
        validation_interval=10,
        num_validation_tasks=100,
        num_validation_inner_steps=3,
        log_interval=5,
        **settings,
    )


def _small_control(name: str, summary: str, problem: Any, **settings: Any) -> Recipe:
    return _policy(
        name,
        summary,
        "Duan et al. 2016",
        "none published for MAML",
        problem=problem,
        inner_learning_rate=2.0,
        meta_batch_size=40,
        num_outer_steps=200,
        episodes_per_task=100,
        num_test_episodes=100,
        hidden_sizes=(32, 32),
        num_validation_inner_steps=1,
        num_test_tasks=400,
        log_interval=10,
        **settings,
    )


def _locomotion(name: str, summary: str, expected: str, problem: Any, **settings: Any) -> Recipe:
    return _policy(
        name,
        summary,
        "Finn et al. 2017, section 5.3 and figure 5",
        expected,
        problem=problem,
        inner_learning_rate=0.1,
        meta_batch_size=40,
        num_outer_steps=200,
        fisher_fraction=0.25,
        num_test_tasks=40,
        num_test_episodes=20,
        num_test_inner_steps=3,
        num_validation_tasks=40,
        num_validation_inner_steps=1,
        log_interval=5,
        **settings,
    )


POLICY_RECIPES = (
    _locomotion(
        "half-cheetah-direction",
        "A planar animal that runs forward or backward",
        "return -50.7 before, 293.2 after 1 step",
        HalfCheetahProblem(),
        max_kl=0.02,
    ),
    _navigation(
        "navigation-2d",
        "A point that finds a goal it does not see",
        measured="-36.2 before, -10.8 after 1 step, -2.5 after 3, -2.1 after 4 (5 seeds)",
        duration="one seed 3 minutes on 2 processor cores",
    ),
    _navigation(
        "navigation-2d-promp",
        "The same, by proximal meta-policy search",
        outer_algorithm="promp",
        num_outer_steps=300,
        measured="-10.6 after 1 step, -3.8 after 3, -3.3 after 4",
    ),
    _navigation(
        "navigation-2d-first-order",
        "The same, without second derivatives",
        first_order=True,
        measured="-11.3 after 1 step, -2.5 after 3, -2.1 after 4",
        duration="2 minutes on 2 processor cores",
    ),
    _small_control(
        "bandit-10-arms",
        "Slot machines, ten in a row",
        BanditProblem(),
        num_conjugate_gradient_steps=3,
        measured="return 0.85 after 1 step, 0.89 after 4 (pretrained 0.77 and 0.80, best arm 0.91)",
        duration="1 minute",
    ),
    _small_control(
        "tabular-mdp",
        "Random worlds of ten states",
        TabularMDPProblem(),
        measured="return 18.0 after 1 step, 19.5 after 4 (pretrained 12.8 and 13.8, best 21.8)",
        duration="3 minutes on 2 processor cores",
    ),
)
"""Recipes of Algorithm 3."""
