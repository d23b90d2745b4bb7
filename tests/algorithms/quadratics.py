"""Tasks with quadratic losses, of which everything is known in closed form.

ℒ(θ) = ½ (θ − c)ᵀ A (θ − c)
"""

from typing import NamedTuple

import numpy as np

import mamlax

DIM, NUM_TASKS = 4, 3


class Quadratic(NamedTuple):
    """A `[..., dim, dim]`, symmetric and positive, and c `[..., dim]`."""

    curvature: np.ndarray
    center: np.ndarray


def quadratic_loss(params, batch):
    away = params - batch.center
    return 0.5 * away @ batch.curvature @ away


def make_problem():
    """Parameters and tasks; every matrix and every center is another one."""
    rng = np.random.default_rng(0)

    def quadratics():
        roots = rng.normal(size=(NUM_TASKS, DIM, DIM))
        curvature = roots @ roots.swapaxes(1, 2) + np.eye(DIM)
        return Quadratic(curvature, rng.normal(size=(NUM_TASKS, DIM)))

    return rng.normal(size=DIM), mamlax.Task(quadratics(), quadratics())
