"""Is the meta-gradient right? Finite differences in float64 against automatic differentiation."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._types import MetaLearner
from ._float64 import explain_failure, in_lines, narrowing
from ._overlooked import overlooked
from ._params import is_learnable, split

_MOST_NOISE = 0.1  # above this share of the gradient, rounding hides what the check looks for


class LeafCheck(NamedTuple):
    """The check of one leaf of the meta-parameters.

    Attributes:
        name: path of the leaf.
        shape: shape of the leaf.
        num_checked: number of entries compared.
        error: largest |finite difference − gradient| over the entries compared, relative to the
            largest magnitude among them (or to a hundredth of the whole gradient's, if larger).
        num_kinks: entries left out because the loss has a kink or a jump there.
        noise: how much rounding of the loss may add to `error`.
    """

    name: str
    shape: tuple[int, ...]
    num_checked: int
    error: float
    num_kinks: int = 0
    noise: float = 0.0

    def verdict(self, tolerance: float) -> str:
        """`"ok"`, `"WRONG"` or `"NOT CHECKED"`; see `check_meta_gradient`."""
        if not self.error <= tolerance + self.noise:
            return "WRONG"
        all_kinks = self.num_kinks > 0 and self.num_checked == 0
        return "NOT CHECKED" if all_kinks or self.noise > _MOST_NOISE else "ok"


class MetaGradientReport(NamedTuple):
    """The result of `check_meta_gradient`; `print` it for a table.

    Attributes:
        leaves: a `LeafCheck` for each learnable leaf.
        tolerance: the largest error with which a leaf passes, in addition to its noise.
        remarks: further remarks, in sentences.
    """

    leaves: tuple[LeafCheck, ...]
    tolerance: float
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every leaf was checked and is within the tolerance."""
        return all(leaf.verdict(self.tolerance) == "ok" for leaf in self.leaves)

    def __str__(self) -> str:
        width = max(len("leaf"), *(len(leaf.name) for leaf in self.leaves))
        lines = [f"{'leaf':<{width}}  {'shape':<14} checked  relative error"]
        for leaf in self.leaves:
            notes = [f"{leaf.num_kinks} on a kink, skipped"] if leaf.num_kinks else []
            notes += [f"rounding {leaf.noise:.0e}"] if leaf.noise > self.tolerance else []
            lines.append(
                f"{leaf.name:<{width}}  {list(leaf.shape)!s:<14} {leaf.num_checked:>7}  "
                f"{leaf.error:.1e}  {leaf.verdict(self.tolerance)}"
                + (f" ({'; '.join(notes)})" if notes else "")
            )
        wrong = any(leaf.verdict(self.tolerance) == "WRONG" for leaf in self.leaves)
        outcome = "DISAGREE" if wrong else "agree" if self.passed else "agree where checked"
        lines.append(f"Gradient and finite differences {outcome} (tolerance {self.tolerance:.0e}).")
        return "\n".join([*lines, *self.remarks])


def check_meta_gradient(
    learner: MetaLearner,
    params: PyTree,
    tasks: PyTree,
    *,
    tolerance: float = 1e-5,
    epsilon: float = 1e-6,
    max_entries: int = 20,
    seed: int = 0,
    outer_step: int = 0,
) -> MetaGradientReport:
    """Compare a learner's meta-gradient with finite differences of its meta-loss, in float64.

    For entries θᵢ drawn at random from each leaf, compare the gradient gᵢ with
    (ℒ(θ + εeᵢ) − ℒ(θ − εeᵢ)) / 2ε, or with the one-sided difference if that is nearer. (At a kink,
    the gradient is that of one side.) A leaf is

    - `ok` if its errors are within `tolerance` of its gradient, plus the rounding error of a
      difference (4 · 2⁻⁵² |ℒ| / ε).
    - `WRONG` if an error is larger.
    - `NOT CHECKED` if nothing can be said. Then the report has not passed. This happens if every
      entry is on a kink, e.g. a ReLU at zero or a jump (the error is above the tolerance, but less
      than the bend between the differences at ±ε and ±2ε), or if rounding is above a tenth of the
      gradient (raise `epsilon`, or leave constants out of the loss).

    All floating-point leaves of `params`, of the meta-parameters and of `tasks` are converted to
    float64 for the check, and complex ones to complex128. Real and imaginary parts are compared as
    separate entries. A first-order learner fails the check, as it should: its gradient is not that
    of its loss. iMAML's gradient is exact only where the inner loop has reached its minimum; it
    fails the check before that, and a remark says how far from the minimum it was.

    Args:
        learner: any learner whose `meta_gradient` is the gradient of the loss it returns.
        params: parameters to check at, as given to `learner.init`. Take them after a few steps of
            training, or at random: at a symmetric point, errors can be hidden.
        tasks: a small meta-batch (leading axis `tasks`).
        tolerance: largest relative error with which a leaf passes.
        epsilon: the step of the differences, relative to entries larger than one.
        max_entries: how many entries to compare per leaf.
        seed: seed that draws the entries.
        outer_step: the outer step to check at, for learners that have a schedule.

    Returns:
        A `MetaGradientReport`. In a test, write `assert report.passed, report`.

    Raises:
        TypeError: if the meta-loss is not a float64 scalar, because something casts it, or if it
            cannot be computed in float64, because of arrays that the loss contains or creates.
        ValueError: if the meta-loss is not finite, or the leaves of the gradient are not those of
            the meta-parameters.

    Example:
        >>> import jax, jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((jnp.sin(params["w"] * batch.inputs) - batch.targets) ** 2)
        >>> tasks = mamlax.sample_tasks(mamlax.Sinusoids(shots=5).sample, jax.random.key(0), 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=2)
        >>> mamlax.check_meta_gradient(learner, {"w": jnp.array(0.7)}, tasks).passed
        True
    """

    def loss_and_gradient(meta_params, tasks):
        when = {"outer_step": outer_step} if outer_step else {}
        (loss, info), gradient = learner.meta_gradient(meta_params, tasks, **when)
        return loss, info, gradient

    given = params, tasks
    with jax.enable_x64(True):
        meta_params = _to_float64(learner.init(_to_float64(params)))
        tasks = _to_float64(tasks)
        learnable, rest = split(meta_params)
        values, structure = jax.tree.flatten(learnable)
        try:
            loss, info, gradient = eqx.filter_jit(loss_and_gradient)(meta_params, tasks)
        except Exception as error:
            with jax.enable_x64(False):
                explain_failure(error, loss_and_gradient, learner.init(given[0]), given[1])
            raise
        places = narrowing(eqx.filter_make_jaxpr(loss_and_gradient)(meta_params, tasks)[0])
        _check_loss(loss, places)
        gradients = _gradients_by_name(learnable, gradient)
        loss_fn = eqx.filter_jit(lambda params, tasks: loss_and_gradient(params, tasks)[0])

        def loss_at(index, parts):
            value = parts.view(values[index].dtype).reshape(values[index].shape)
            leaves = [*values[:index], jnp.asarray(value), *values[index + 1 :]]
            moved = eqx.combine(jax.tree.unflatten(structure, leaves), rest)
            return float(loss_fn(moved, tasks))

        generator = np.random.default_rng(seed)
        floor = 1e-2 * _largest(*gradients.values())
        checks = []
        for index, (name, compared) in enumerate(gradients.items()):
            parts = _parts(values[index])
            entries = generator.permutation(parts.size)[:max_entries].tolist()
            lines = [
                _losses_along(functools.partial(loss_at, index), parts, entry, epsilon)
                for entry in entries
            ]
            shape, compared = compared.shape, _parts(compared)[entries]
            checks.append(_check_leaf(name, shape, compared, lines, floor, tolerance))
        remarks = overlooked(lambda params: learner.meta_gradient(params, tasks)[0][0], meta_params)

    report = MetaGradientReport(tuple(checks), tolerance)
    if places and not report.passed:
        remarks.append(
            f"The loss computes in {' and '.join(sorted(places))} somewhere; the check needs "
            f"float64: remove the cast for the check.{in_lines(places)}"
        )
    if not all(np.isfinite(leaf).all() for leaf in gradients.values()):
        remarks.append(
            "The gradient is not finite, and the loss is: something has no derivative here. Usual "
            "are a norm or a square root at zero, a division in the branch that jnp.where does not "
            "choose, or an inner Adam without eps_root where an entry of the gradient is zero."
        )
    if not report.passed and isinstance(info, dict) and "stationarity" in info:
        far, unsolved = (_largest(np.asarray(info[name])) for name in ("stationarity", "residual"))
        remarks.append(
            "An implicit gradient is exact only at the minimum of the inner problem, with its "
            f"linear system solved: here stationarity is {far:.1e} and residual {unsolved:.1e}, "
            "where 0 is exact. Take more inner or conjugate gradient steps, or a larger "
            "proximal_strength."
        )
    return report._replace(remarks=tuple(remarks))


def _to_float64(tree: PyTree) -> PyTree:
    def of_leaf(leaf):
        if not is_learnable(leaf):
            return leaf
        return jnp.asarray(leaf, jnp.complex128 if jnp.iscomplexobj(leaf) else jnp.float64)

    return jax.tree.map(of_leaf, tree)


def _parts(array: Any) -> np.ndarray:
    """The entries as real numbers, one after another. Complex entries give both parts."""
    return np.ascontiguousarray(array).ravel().view(np.float64)


def _check_loss(loss: PyTree, places: Mapping[str, Sequence[str]]) -> None:
    dtype, shape = getattr(loss, "dtype", type(loss).__name__), np.shape(loss)
    if dtype != np.float64 or shape:
        raise TypeError(
            f"the check needs a float64 scalar for meta-loss, got {dtype}{list(shape)}: params "
            "and tasks are given in float64, so remove the loss's cast for the check."
            + in_lines(places)
        )
    if not np.isfinite(loss):
        raise ValueError(f"the meta-loss is {loss} at these params: there is nothing to compare.")


def _by_name(tree: PyTree, kind: Callable[[Any], bool]) -> dict[str, np.ndarray]:
    """The leaves of a kind, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, kind))
    return {jax.tree_util.keystr(path) or "params": np.asarray(leaf) for path, leaf in leaves}


def _gradients_by_name(learnable: PyTree, gradient: PyTree) -> dict[str, np.ndarray]:
    """The gradient of each leaf, in the order of `learnable`."""
    values = _by_name(learnable, is_learnable)
    gradients = _by_name(_to_float64(gradient), is_learnable)
    expected, got = (
        {f"{name} {list(leaf.shape)}" for name, leaf in leaves.items()}
        for leaves in (values, gradients)
    )
    if expected != got:
        missing, extra = (", ".join(sorted(x)) or "none" for x in (expected - got, got - expected))
        raise ValueError(
            "the meta-gradient must have the learnable leaves of the meta-parameters; "
            f"missing: {missing}; extra: {extra}."
        )
    return {name: gradients[name] for name in values}


def _losses_along(
    loss_at: Callable[[Any], float], value: np.ndarray, entry: int, epsilon: float
) -> tuple[list[float], float]:
    """Losses with one entry moved by −2, −1, 0, 1 and 2 steps, and the step."""
    step = epsilon * max(1.0, abs(float(value.flat[entry])))
    losses = []
    for count in range(-2, 3):
        moved = value.copy()
        moved.flat[entry] += count * step
        losses.append(loss_at(moved))
    return losses, step


@np.errstate(invalid="ignore")  # losses that are not finite
def _check_leaf(name, shape, gradient, lines, floor: float, tolerance: float) -> LeafCheck:
    """Compare `[entries]` of a gradient with the losses along each entry."""
    if not lines:
        return LeafCheck(name, shape, 0, 0.0)
    losses, steps = (np.array(x) for x in zip(*lines, strict=True))
    noises = 4 * np.finfo(np.float64).eps * np.abs(losses[:, 2]) / steps
    a, b, c, d = np.diff(losses).T / steps  # slopes from left to right
    differences = np.stack([(b + c) / 2, 1.5 * b - 0.5 * a, 1.5 * c - 0.5 * d])
    errors = np.nan_to_num(np.abs(differences - gradient), nan=np.inf)
    nearest = np.take_along_axis(differences, errors.argmin(0)[None], 0)[0]
    errors = errors.min(0)

    scale = max(_largest(gradient), floor, np.finfo(np.float64).tiny)
    bends = np.maximum(np.abs(a - 2 * b + c), np.abs(b - 2 * c + d))
    kinks = (errors > tolerance * scale + noises) & (errors <= bends)
    scale = max(scale, _largest(nearest[~kinks]))
    error = float(errors[~kinks].max(initial=0.0) / scale)
    num_kinks = int(kinks.sum())
    return LeafCheck(
        name, shape, len(lines) - num_kinks, error, num_kinks, float(noises.max() / scale)
    )


def _largest(*arrays: np.ndarray) -> float:
    """The largest finite magnitude; 0 if there is none."""
    return max((float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in arrays), default=0.0)
