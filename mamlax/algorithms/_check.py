"""Is the meta-gradient right? Finite differences in float64 against automatic differentiation."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._types import MetaLearner
from ._params import is_learnable, split


class LeafCheck(NamedTuple):
    """The check of one leaf of the meta-parameters.

    Attributes:
        name: the leaf's path.
        shape: the leaf's shape.
        num_checked: entries compared.
        error: largest |finite difference − gradient| over the entries compared, relative to the
            largest magnitude among them (or to that of the whole gradient, where that is larger
            than a hundred times the leaf's own).
    """

    name: str
    shape: tuple[int, ...]
    num_checked: int
    error: float


class MetaGradientReport(NamedTuple):
    """What `check_meta_gradient` found; `print` it for a table.

    Attributes:
        leaves: a `LeafCheck` per learnable leaf.
        tolerance: the error up to which a leaf passes.
    """

    leaves: tuple[LeafCheck, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every leaf's error is within the tolerance."""
        return all(leaf.error <= self.tolerance for leaf in self.leaves)

    def __str__(self) -> str:
        width = max(len("leaf"), *(len(leaf.name) for leaf in self.leaves))
        lines = [f"{'leaf':<{width}}  {'shape':<14} checked  relative error"]
        for leaf in self.leaves:
            verdict = "ok" if leaf.error <= self.tolerance else "WRONG"
            lines.append(
                f"{leaf.name:<{width}}  {list(leaf.shape)!s:<14} {leaf.num_checked:>7}  "
                f"{leaf.error:.1e}  {verdict}"
            )
        verdict = "agree" if self.passed else "DISAGREE"
        lines.append(f"Gradient and finite differences {verdict} (tolerance {self.tolerance:.0e}).")
        return "\n".join(lines)


def check_meta_gradient(
    learner: MetaLearner,
    params: Any,
    tasks: Any,
    *,
    tolerance: float = 1e-5,
    epsilon: float = 1e-6,
    max_entries: int = 20,
    seed: int = 0,
) -> MetaGradientReport:
    """Compare a learner's meta-gradient with central differences of its meta-loss, in float64.

    For entries θᵢ drawn at random from each leaf: (ℒ(θ + εeᵢ) − ℒ(θ − εeᵢ)) / 2ε against gᵢ. All
    floating-point leaves of `params` and `tasks` are converted to float64 for the check. A
    first-order learner fails it, as it should: its gradient is not that of its loss.

    Args:
        learner: any learner whose `meta_gradient` is the gradient of the loss it returns.
        params: parameters to check at, as given to `learner.init`. Best after a few steps of
            training, or at random: at a symmetric point errors can hide.
        tasks: a small meta-batch (leading axis `tasks`).
        tolerance: largest relative error with which a leaf passes.
        epsilon: the step of the differences. Kinks (ReLU, max) closer than this to an
            activation show as errors; another `seed` or `params` tells them from mistakes.
        max_entries: entries compared per leaf.
        seed: which entries.

    Returns:
        A `MetaGradientReport`; in a test, `assert report.passed, report`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((jnp.sin(params["w"] * batch.inputs) - batch.targets) ** 2)
        >>> tasks = mamlax.sample_tasks(mamlax.Sinusoids(shots=5).sample, jax.random.key(0), 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=2)
        >>> mamlax.check_meta_gradient(learner, {"w": jnp.array(0.7)}, tasks).passed
        True
    """
    with jax.enable_x64(True):
        params, tasks = _to_float64(params), _to_float64(tasks)
        meta_params = learner.init(params)
        gradient = eqx.filter_jit(lambda p: learner.meta_gradient(p, tasks)[1])(meta_params)
        loss_of = eqx.filter_jit(lambda p: learner.meta_gradient(p, tasks)[0][0])
        learnable, rest = split(meta_params)
        paths, treedef = jax.tree_util.tree_flatten_with_path(learnable)
        values = [np.asarray(value) for _, value in paths]
        gradients = [np.asarray(g) for g in jax.tree.leaves(gradient)]
        generator = np.random.default_rng(seed)
        overall = max((np.abs(g).max(initial=0.0) for g in gradients), default=0.0)

        checks = []
        for index, (path, _) in enumerate(paths):
            value, leaf_gradient = values[index], gradients[index].ravel()
            entries = generator.permutation(value.size)[:max_entries]
            differences = []
            for entry in entries:
                ends = []
                for sign in (1.0, -1.0):
                    moved = value.copy()
                    moved.flat[entry] += sign * epsilon
                    leaves = [*values[:index], moved, *values[index + 1 :]]
                    moved_params = jax.tree.unflatten(treedef, [jnp.asarray(x) for x in leaves])
                    ends.append(float(loss_of(eqx.combine(moved_params, rest))))
                differences.append((ends[0] - ends[1]) / (2 * epsilon))
            compared = leaf_gradient[entries]
            scale = max(
                np.abs(compared).max(initial=0.0),
                np.abs(differences).max(initial=0.0),
                1e-2 * overall,
                np.finfo(np.float64).tiny,
            )
            error = np.abs(compared - differences).max(initial=0.0) / scale
            error = float(error) if np.isfinite(error) else float("inf")
            name = jax.tree_util.keystr(path) or "params"
            checks.append(LeafCheck(name, value.shape, len(entries), error))
    return MetaGradientReport(tuple(checks), tolerance)


def _to_float64(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if is_learnable(leaf) else leaf, tree
    )
