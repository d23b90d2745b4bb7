"""The named recipes: the paper's settings, its numbers, and ours."""

import difflib
from typing import Any

from ._classification import Network
from ._control import BanditProblem, NavigationProblem, TabularMDPProblem
from ._omniglot import OmniglotProblem
from ._recipe import Evidence, PolicyRecipe, Recipe, SupervisedRecipe
from ._sinusoid import SinusoidProblem


def _sinusoid(name: str, shots: int, *, expected: str, measured: str, duration: str) -> Recipe:
    return SupervisedRecipe(
        name=name,
        evidence=Evidence(
            f"Sine waves, each from {shots} points",
            "Finn et al. 2017, section 5.1 and figure 3",
            expected,
            measured,
            duration,
        ),
        problem=SinusoidProblem(shots=shots),
        inner_learning_rate=0.01,
        num_inner_steps=1,
        outer_learning_rate=2e-3,
        # with a constant rate the error after many inner steps stays ragged
        outer_schedule="cosine",
        # A rare steep wave has a gradient many times the usual. It must count, or later inner steps
        # overshoot on such waves; and be forgotten, or Adam's steps stay small long after.
        second_moment_decay=0.9,
        meta_batch_size=25,
        num_outer_steps=70_000,
        num_devices=1,  # too small a model to share out
        # Trained with one inner step, a network gets ever better after one, but from some point on
        # worse after ten, on ever more waves: keep the best.
        validation_interval=2_000,
        num_validation_tasks=2_000,
        num_validation_inner_steps=10,
        log_interval=500,
    )


def _omniglot(
    name: str,
    ways: int,
    shots: int,
    *,
    expected: str,
    measured: str = "",
    duration: str = "",
    network: Network = "conv4",
) -> Recipe:
    five_way = ways == 5
    return SupervisedRecipe(
        name=name,
        evidence=Evidence(
            f"Handwritten characters, {ways} classes from {shots} example{'s' * (shots > 1)} each"
            + (", without convolutions" if network == "fully-connected" else ""),
            "Finn et al. 2017, table 1",
            expected,
            measured,
            duration,
        ),
        problem=OmniglotProblem(ways=ways, shots=shots, network=network),
        # The paper's 0.4 and 0.1 multiply the gradient of a loss that its code sums over classes:
        # N times the mean cross-entropy used here, for which they are 2.0.
        inner_learning_rate=2.0,
        num_inner_steps=1 if five_way else 5,
        outer_learning_rate=1e-3,
        outer_schedule="cosine",
        meta_batch_size=32 if five_way else 16,
        num_outer_steps=60_000,
        num_baseline_steps=3_000,
        task_batch_size=1,
        validation_interval=1_000,
        # what the paper reports: three steps where it trains with one
        num_validation_inner_steps=3 if five_way else 5,
        log_interval=50,
        checkpoint_interval=500,
    )


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


_RECIPES = (
    _sinusoid(
        "sinusoid",
        10,
        expected="MSE 0.77 ± 0.11 after 1 step (MAML in the Meta-SGD protocol)",
        measured="0.32 ± 0.01 after 1 step, 0.10 ± 0.02 after 10 (3 seeds)",
        duration="2 minutes",
    ),
    _sinusoid(
        "sinusoid-5-shot",
        5,
        expected="MSE 1.13 ± 0.18 after 1 step (MAML in the Meta-SGD protocol)",
        measured="0.54 ± 0.01 after 1 step, 0.29 ± 0.02 after 10 (3 seeds)",
        duration="3 minutes",
    ),
    _sinusoid(
        "sinusoid-20-shot",
        20,
        expected="MSE 0.48 ± 0.08 after 1 step (MAML in the Meta-SGD protocol)",
        measured="0.198 ± 0.004 after 1 step, 0.03 ± 0.02 after 10 (3 seeds)",
        duration="4 minutes",
    ),
    _omniglot(
        "omniglot-5-way-1-shot",
        5,
        1,
        expected="98.7 ± 0.4 %",
        measured="99.1 ± 0.4 % after 3 steps (27,000 outer steps)",
        duration="48 minutes on 2 processor cores",
    ),
    _omniglot("omniglot-5-way-5-shot", 5, 5, expected="99.9 ± 0.1 %"),
    _omniglot("omniglot-20-way-1-shot", 20, 1, expected="95.8 ± 0.3 %"),
    _omniglot("omniglot-20-way-5-shot", 20, 5, expected="98.9 ± 0.2 %"),
    _omniglot(
        "omniglot-5-way-1-shot-fully-connected",
        5,
        1,
        expected="89.7 ± 1.1 %",
        network="fully-connected",
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
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
"""Recipe by name."""


def nearest_recipe(name: str) -> str:
    """A sentence naming the recipe most like `name`, a space before it; empty where none is."""
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.3)
    return f" Did you mean {near[0]}?" if near else ""
