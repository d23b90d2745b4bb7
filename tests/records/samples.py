"""A small record for each file of a run."""

import numpy as np

from mamlax.config import RECIPES
from mamlax.records import (
    BanditExamples,
    ComparedRun,
    Comparison,
    CurvePoint,
    Curves,
    Difference,
    Evaluation,
    FewShotExamples,
    LocomotionExamples,
    NavigationExamples,
    RunDescription,
    SinusoidExamples,
    read_comparison,
    read_curves,
    read_evaluation,
    read_examples,
    read_run,
)
from mamlax.records._comparison import write_comparison
from mamlax.records._curves import write_curves
from mamlax.records._description import open_run
from mamlax.records._evaluation import write_evaluation
from mamlax.records._examples import write_examples


def numbers(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


STEPS = np.array([0, 1])
POINTS = [CurvePoint(0, 4.5, 0.25), CurvePoint(1, None, None)]
EVALUATION = Evaluation(
    recipe="sinusoid",
    algorithm="maml",
    metric="mse",
    num_tasks=3,
    num_seeds=2,
    transductive=True,
    outer_step=30,
    curve=POINTS,
    baselines={"pretrained": POINTS, "random": POINTS},
    inner_learning_rates={"main": 0.01, "pretrained": 0.1, "random": 0.0},
    published={"main": [4.0, 1.0], "oracle": [0.5]},
    seeds=[POINTS, POINTS],
    non_transductive_curve=POINTS,
)
COMPARISON = Comparison(
    metric="mse",
    runs=[
        ComparedRun(
            name=name,
            directory=f"runs/{name}",
            settings={"shots": shots, "hidden_sizes": [4, 4], "gradient_clip": None},
            num_tasks=3,
            num_seeds=1,
            transductive=False,
            curve=POINTS,
            num_diverged=[0, 1],
        )
        for name, shots in (("a", 5), ("b", 10))
    ],
    differences=[
        Difference(name="b", to="a", paired=False, why_unpaired="other tasks", curve=POINTS)
    ],
)
CURVES = Curves({"main": numbers(2, 3, 4), "oracle": numbers(3, 4)}, numbers(3))
EXAMPLES = {
    "sinusoid": SinusoidExamples(
        algorithm="maml",
        num_steps=STEPS,
        grid=numbers(5),
        truth=numbers(4, 5),
        support_x=numbers(4, 3),
        support_y=numbers(4, 3),
        predictions={"main": numbers(4, 2, 5), "pretrained": numbers(4, 2, 5)},
    ),
    "few-shot": FewShotExamples(
        algorithm="anil",
        num_steps=STEPS,
        ways=3,
        support_images=numbers(3, 6, 6, 3),
        query_images=numbers(9, 6, 6, 3),
        query_targets=np.arange(9) % 3,
        probabilities=numbers(2, 9, 3),
    ),
    "navigation": NavigationExamples(
        algorithm="promp",
        num_steps=STEPS,
        goals=numbers(4, 2),
        paths={"main": numbers(4, 2, 3, 7, 2)},
        masks={"main": numbers(4, 2, 3, 7) > 0.5},
    ),
    "bandit": BanditExamples(
        algorithm="policy-gradient",
        num_steps=STEPS,
        payouts=numbers(4, 10),
        pulls={"main": numbers(4, 2, 10), "pretrained": numbers(4, 2, 10)},
    ),
    "locomotion": LocomotionExamples(
        algorithm="maml-trpo",
        num_steps=np.arange(4),
        shown_steps=np.array([0, 1, 3]),
        model="ant",
        goal="position",
        seconds_per_step=0.05,
        tasks=numbers(4, 2),
        positions={"main": numbers(4, 4, 6, 15)},
    ),
}
DESCRIPTION = RunDescription(RECIPES["sinusoid"], 0, 1, environment={"jax": "0.10.2"})


def write_example(directory, kind="sinusoid"):
    write_examples(directory, EXAMPLES[kind])


RECORDS = {
    "recipe.json": (lambda directory: open_run(directory, DESCRIPTION), read_run),
    "evaluation.json": (lambda directory: write_evaluation(directory, EVALUATION), read_evaluation),
    "comparison.json": (lambda directory: write_comparison(directory, COMPARISON), read_comparison),
    "curves.npz": (lambda directory: write_curves(directory, CURVES), read_curves),
    "examples.npz": (write_example, read_examples),
}
"""For each file, the functions that write it into a directory and read it."""
