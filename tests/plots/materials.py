"""Small records of a run."""

import numpy as np

from mamlax.records import (
    BanditExamples,
    CurvePoint,
    Evaluation,
    FewShotExamples,
    LocomotionExamples,
    NavigationExamples,
    SinusoidExamples,
)

METRICS = [
    {
        "step": step,
        "train/query_loss": 4.0 / step,
        "train/support_loss": 5.0 / step,
        "train/gradient_norm": 1.0,
        **({"validation/accuracy": step / 100} if step % 20 == 0 else {}),
    }
    for step in (10, 20, 30, 40)
]


def curve(*means):
    return [
        CurvePoint(steps, mean, None if mean is None else 0.1) for steps, mean in enumerate(means)
    ]


EVALUATION = Evaluation(
    recipe="sinusoid",
    algorithm="maml",
    metric="mse",
    num_tasks=6,
    num_seeds=1,
    transductive=False,
    outer_step=40,
    curve=curve(4.0, 1.0, 0.5),
    baselines={"random": curve(4.0, 3.9, 3.8), "pretrained": curve(3.0, 2.9, 2.8)},
    inner_learning_rates={"main": 0.01, "random": 0.01, "pretrained": 0.01},
)


def sinusoid_examples(names=("main", "pretrained"), algorithm="maml"):
    grid = np.linspace(-5, 5, 21)
    curves = np.stack([0 * grid, 0.5 * np.sin(grid), np.sin(grid)])
    return SinusoidExamples(
        algorithm=algorithm,
        num_steps=np.array([0, 1, 10]),
        grid=grid,
        truth=np.stack([np.sin(grid)] * 2),
        support_x=np.array([[-1.0, 2.0]] * 2),
        support_y=np.array([[0.5, -0.5]] * 2),
        predictions={name: np.stack([curves] * 2) for name in names},
    )


def few_shot_examples(ways=3, shots=1, num_query=2):
    random = np.random.default_rng(0)
    return FewShotExamples(
        algorithm="maml",
        num_steps=np.array([0, 1, 3]),
        ways=ways,
        support_images=random.random((ways * shots, 6, 6)),
        query_images=random.random((ways * num_query, 6, 6)),
        query_targets=np.repeat(np.arange(ways), num_query),
        probabilities=random.dirichlet(np.ones(ways), (3, ways * num_query)),
    )


def navigation_examples():
    """Two goals; episodes of 5 steps, of which one ends after 3."""
    goals = np.array([[0.4, 0.1], [-0.2, 0.3]])
    paths = np.linspace(0, 1, 5)[:, None] * goals[:, None, None, None]  # [goals, 1, 1, time, 2]
    paths = paths * np.array([0.1, 0.5, 1.0])[:, None, None, None] * np.ones((2, 1, 1))
    masks = np.ones((2, 3, 2, 5), bool)
    masks[1, 2, 0, 3:] = False
    return NavigationExamples(
        algorithm="maml-trpo",
        num_steps=np.array([0, 1, 3]),
        goals=goals,
        paths={"main": paths, "pretrained": 0.5 * paths},
        masks={"main": masks, "pretrained": masks},
    )


def bandit_examples():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3))
    return BanditExamples(
        algorithm="promp",
        num_steps=np.array([0, 1, 3]),
        payouts=np.array([[0.1, 0.9, 0.5, 0.3], [0.7, 0.2, 0.4, 0.6]]),
        pulls={"main": shares, "pretrained": shares[:, ::-1]},
    )


def locomotion_examples(goal="velocity", positions=None):
    """Two tasks; a body that is faster after every inner step."""
    if positions is None:
        speed = np.arange(1.0, 5.0)[:, None, None] / 10  # [steps, time, coordinates]
        positions = np.stack([np.cumsum(np.ones((4, 60, 3)) * speed, axis=1)] * 2)
    tasks = {
        "direction": [1.0, -1.0],
        "velocity": [0.5, 1.5],
        "position": [[1.0, 2.0], [0.0, -1.0]],
    }
    return LocomotionExamples(
        algorithm="maml-trpo",
        num_steps=np.arange(4),
        shown_steps=np.array([0, 1, 3]),
        model="half_cheetah",
        goal=goal,
        seconds_per_step=0.05,
        tasks=np.array(tasks[goal])[: len(positions)],
        positions={"main": positions},
    )
